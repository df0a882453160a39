"""A worker announces only changes of its availability, unless it renews the announcement."""

from __future__ import annotations

from shared.domain import Priority
from tests.fakes import RecordingQueue
from worker.availability import Availability


def test_only_a_busy_worker_announces_that_it_is_idle() -> None:
    """Once: the caller checks for films again after each announcement."""
    queue = RecordingQueue()
    availability = Availability(queue, "w1", [Priority.STAT])
    assert not availability.announce_idle()
    assert (availability.is_busy, queue.noted) == (False, {})
    availability.announce_busy()
    assert (availability.is_busy, queue.noted) == (True, {"w1": ()})
    assert availability.announce_idle()
    assert (availability.is_busy, queue.noted) == (False, {"w1": (Priority.STAT,)})
    assert not availability.announce_idle()


def test_an_idle_worker_may_renew_its_announcement() -> None:
    """Redis forgets it after some seconds."""
    queue = RecordingQueue()
    assert Availability(queue, "w1", [Priority.STAT]).announce_idle(force=True)
    assert queue.noted == {"w1": (Priority.STAT,)}


def test_a_worker_is_busy_whether_or_not_the_broker_is_reached() -> None:
    """The next announcement of idle is made in any case, and the check after it."""
    availability = Availability(RecordingQueue(down=True), "w1", [Priority.STAT])
    availability.announce_busy()
    assert availability.is_busy
    assert availability.announce_idle()
