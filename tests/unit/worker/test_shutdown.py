"""The exit status of a worker, by what Celery says of its end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from worker.shutdown import CeleryEnd


@pytest.mark.parametrize(
    ("requests", "own", "status"),
    [
        ([], 0, 0), ([], 1, 1),
        ([("Warm", 0)], 0, 0), ([("Warm", 0)], 1, 1),
        ([("Warm", 1)], 1, 0), ([("Warm", 1), ("Cold", 1)], 1, 1),
    ],
    ids=["ended", "fault", "SIGTERM", "fault after SIGTERM", "Ctrl-C", "Ctrl-C twice"],
)  # fmt: skip
def test_a_worker_that_was_told_to_end_has_not_failed(requests: list[tuple[str, int]], own: int, status: int) -> None:
    """Unless a task was cut off, or something else ended it."""
    end = CeleryEnd()
    for how, exitcode in requests:
        end.note_request(how=how, exitcode=exitcode, sig="any", sender="plainfilm")
    end.note_end(sender=SimpleNamespace(exitcode=own), signal=None)
    assert end.status == status
