"""What `--queues` names: classes of films in the order of their rank, and explanations."""

from __future__ import annotations

import pytest

from shared.domain import Priority
from shared.errors import InvalidRequest
from worker.serving import Serving, parse_queues


@pytest.mark.parametrize(
    ("text", "priorities", "explains"),
    [
        ("stat", [Priority.STAT], False),
        ("bulk,stat", [Priority.STAT, Priority.BULK], False),
        (" routine , routine ,", [Priority.ROUTINE], False),
        ("explain", [], True),
        ("explain,bulk", [Priority.BULK], True),
        ("stat,routine,bulk,explain", list(Priority), True),
    ],
)
def test_queues_are_read_in_order_of_rank(text: str, priorities: list[Priority], explains: bool) -> None:  # noqa: FBT001  a case
    """However they are written, and each once."""
    assert parse_queues(text) == Serving(tuple(priorities), explains)


@pytest.mark.parametrize("text", ["", ",", "urgent", "stat,urgent", "STAT", "explains"])
def test_an_unknown_queue_is_refused(text: str) -> None:
    """With those that are known."""
    with pytest.raises(InvalidRequest, match="stat, routine, bulk, explain"):
        parse_queues(text)


def test_a_worker_serves_everything_unless_told_otherwise() -> None:
    """And names its queues so that they can be read back."""
    assert Serving().queues == ("stat", "routine", "bulk", "explain")
    for serving in (Serving(), Serving((), explains=True), Serving((Priority.BULK,), explains=False)):
        assert parse_queues(",".join(serving.queues)) == serving
