"""The circuit breaker: after failures in a row calls are skipped, then one tries."""

from __future__ import annotations

from shared.breaker import Breaker


class Seconds:
    """A clock that moves when told."""

    now = 100.0

    def __call__(self) -> float:
        """The time it was set to."""
        return self.now


def open_breaker(clock: Seconds) -> Breaker:
    """A breaker that has just seen its fifth failure in a row."""
    breaker = Breaker(clock=clock)
    for _ in range(5):
        assert breaker.allows()
        breaker.note(worked=False)
    return breaker


def test_it_opens_after_five_failures_in_a_row() -> None:
    """A call that works in between counts them anew."""
    breaker = Breaker(clock=Seconds())
    for worked in (False, False, False, False, True, False, False, False, False):
        breaker.note(worked=worked)
    assert breaker.allows()
    breaker.note(worked=False)
    assert not breaker.allows()


def test_after_five_seconds_one_call_tries() -> None:
    """The others wait for what becomes of it."""
    clock = Seconds()
    breaker = open_breaker(clock)
    clock.now += 4.9
    assert not breaker.allows()
    clock.now += 0.2
    assert [breaker.allows(), breaker.allows()] == [True, False]


def test_a_call_that_works_closes_it_and_one_that_fails_opens_it_again() -> None:
    """Five more seconds after the failure."""
    clock = Seconds()
    breaker = open_breaker(clock)
    clock.now += 5
    assert breaker.allows()
    breaker.note(worked=False)
    assert not breaker.allows()
    clock.now += 5
    assert breaker.allows()
    breaker.note(worked=True)
    assert [breaker.allows(), breaker.allows()] == [True, True]
