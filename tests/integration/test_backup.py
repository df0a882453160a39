"""A service goes on from a backup that was made while it worked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.domain import JobState
from tests.service import Service, films

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_a_service_starts_from_a_backup(start_service: Callable[..., Service], tmp_path: Path) -> None:
    """With its key, its answers and its films; what was waiting is answered there."""
    service = start_service()
    sent = [service.submit(film) for film in films(20)]
    made = service.run("backup", str(tmp_path / "copy"))
    assert made.returncode == 0, made.stderr
    key = service.key
    service.stop()
    again = start_service(tmp_path / "copy")
    assert again.key == key
    for job in sent:
        assert again.done(job.id).status is JobState.SUCCEEDED
        assert again.http.get(job.links.film, headers=again.headers).status_code == 200
    checked = again.run("audit", "verify")
    assert checked.returncode == 0, checked.stdout
