"""Rings behind films that were claimed already."""

from __future__ import annotations

from worker import rings
from worker.rings import PendingRings


def test_a_claimed_films_ring_is_settled_once() -> None:
    """Another one, which a requeued film may get, is looked at again."""
    pending = PendingRings()
    pending.expect(["a", "b"])
    assert [pending.settle(name) for name in ("a", "a", "c", "b")] == [True, False, False, True]


def test_a_film_claimed_twice_is_settled_once() -> None:
    """Rings, not claims, are counted."""
    pending = PendingRings()
    pending.expect(["a"])
    pending.expect(["a"])
    assert [pending.settle("a"), pending.settle("a")] == [True, False]


def test_a_ring_that_comes_late_is_looked_at() -> None:
    """The claimed film's own ring went elsewhere; this one may be for the film queued anew."""
    times = iter([0.0, rings.LATE_S - 0.1, 0.0, rings.LATE_S])
    pending = PendingRings(lambda: next(times))
    found = []
    for _ in range(2):
        pending.expect(["a"])
        found.append(pending.settle("a"))
    assert found == [True, False]


def test_the_oldest_are_forgotten() -> None:
    """A broker that loses every ring costs no memory."""
    pending = PendingRings()
    pending.expect(str(number) for number in range(rings.MOST + 2))
    assert [pending.settle(name) for name in ("0", "1", "2", str(rings.MOST + 1))] == [False, False, True, True]
