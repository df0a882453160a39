"""The waiting line before films are read: its order, its limits, and what a slow body gives up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest

from shared.errors import DecoderBusy
from tests.waiting import wait_until
from web.intake import PLACES, Intake

LONG_S = 60.0


class Films:
    """Films of several clients at one intake, each in a thread: which have had a seat, in order, and which may go."""

    def __init__(self, pool: ThreadPoolExecutor, intake: Intake) -> None:
        self.pool, self.intake = pool, intake
        self.seated: list[str] = []
        self.may_go: dict[str, threading.Event] = {}

    def send(self, name: str, *, is_urgent: bool = False, is_slow: bool = False) -> Future[None]:
        """Send a film, named by its tenant and a number; return once it is seated or in the line."""
        before = waiting(self.intake) + len(self.seated)
        self.may_go[name] = threading.Event()
        sent = self.pool.submit(self._take_in, name, is_urgent=is_urgent, is_slow=is_slow)
        wait_until(lambda: sent.done() or waiting(self.intake) + len(self.seated) > before, f"{name} to be there")
        return sent

    def end(self, name: str, film: Future[None]) -> None:
        """Let a seated film end, and wait for that."""
        self.may_go[name].set()
        film.result(LONG_S)

    def _take_in(self, name: str, *, is_urgent: bool, is_slow: bool) -> None:
        with self.intake.seat(name[0], is_urgent=is_urgent) as turn:
            self.seated.append(name)
            reading: AbstractContextManager[None] = self.intake.reading(turn) if is_slow else nullcontext()
            with reading:
                assert self.may_go[name].wait(LONG_S)


AtIntake = Callable[[Intake], AbstractContextManager[Films]]


def waiting(intake: Intake) -> int:
    """How many films wait."""
    return sum(len(turns) for line in intake._lines for turns in line.values())


@pytest.fixture
def films() -> Iterator[AtIntake]:
    """Films at an intake of one's own; whatever still waits at the end is let go."""
    with ThreadPoolExecutor(16) as pool:

        @contextmanager
        def at(intake: Intake) -> Iterator[Films]:
            made = Films(pool, intake)
            try:
                yield made
            finally:
                for event in made.may_go.values():
                    event.set()

        yield at


def test_seats_are_granted_at_once_while_there_are_any(films: AtIntake) -> None:
    """The third waits for one of two to end."""
    with films(Intake(2)) as sent:
        first, _, third = sent.send("a1"), sent.send("a2"), sent.send("a3")
        assert sent.seated == ["a1", "a2"]
        assert not third.done()
        sent.end("a1", first)
        wait_until(lambda: sent.seated == ["a1", "a2", "a3"], "the third to be seated")


def test_a_burst_of_one_tenant_does_not_hold_up_another(films: AtIntake) -> None:
    """Each tenant's films come in turn, urgent ones before all others."""
    with films(Intake(1)) as sent:
        line = {name: sent.send(name) for name in ("a0", "a1", "a2", "a3", "b1", "c1", "b2")}
        line["c2"] = sent.send("c2", is_urgent=True)
        expected = ["a0", "c2", "a1", "b1", "c1", "a2", "b2", "a3"]
        for seated, name in enumerate(expected, start=1):
            wait_until(lambda: len(sent.seated) == seated, "the next one to be seated")  # noqa: B023
            sent.end(name, line[name])
        assert sent.seated == expected


def test_a_full_line_refuses(films: AtIntake) -> None:
    """The place of one that waited is free again."""
    with films(Intake(1, places=1)) as sent:
        first, second = sent.send("a1"), sent.send("a2")
        with pytest.raises(DecoderBusy, match="at once"), sent.intake.seat("b", is_urgent=True):
            pass
        sent.end("a1", first)
        sent.end("a2", second)
        third = sent.send("a3")
        sent.send("a4")
        assert waiting(sent.intake) == 1
        sent.end("a3", third)


def test_one_tenant_does_not_fill_the_line(films: AtIntake) -> None:
    """Its places are no more than those that are free, urgent films or not."""
    with films(Intake(1, places=4)) as sent:
        line = [("a1", sent.send("a1")), ("a2", sent.send("a2", is_urgent=True)), ("a3", sent.send("a3"))]
        with pytest.raises(DecoderBusy, match="at once"), sent.intake.seat("a", is_urgent=False):
            pass
        line.append(("b4", sent.send("b4")))
        assert waiting(sent.intake) == 3
        for seated, (name, film) in enumerate(line, start=1):
            wait_until(lambda: len(sent.seated) == seated, "the next one to be seated")  # noqa: B023
            sent.end(name, film)
        assert sent.intake._free_places == 4


def test_who_waited_too_long_is_refused_and_leaves_no_trace(
    films: AtIntake,
) -> None:
    """Neither its place nor a seat is lost."""
    with films(Intake(1, places=1, longest_wait_s=0.05)) as sent:
        first = sent.send("a1")
        for _ in range(2):
            with pytest.raises(DecoderBusy, match="too long"), sent.intake.seat("a", is_urgent=False):
                pass
        assert not waiting(sent.intake)
        sent.end("a1", first)
        with sent.intake.seat("a", is_urgent=False) as turn:
            assert turn.has_seat


def test_a_slow_body_loses_its_seat_and_takes_one_again(films: AtIntake) -> None:
    """The next one is seated meanwhile; once the body is there its film is before the tenant's that were not read."""
    with films(Intake(1, prompt_s=0.05)) as sent:
        slow = sent.send("a1", is_slow=True)
        second = sent.send("a2")
        wait_until(lambda: sent.seated == ["a1", "a2"], "the second to be seated")
        third, other = sent.send("a3"), sent.send("b4")
        sent.may_go["a1"].set()
        wait_until(lambda: waiting(sent.intake) == 3, "the first to wait for a seat")
        assert not slow.done()
        sent.end("a2", second)
        slow.result(LONG_S)
        wait_until(lambda: sent.seated == ["a1", "a2", "b4"], "the other tenant to be seated")
        sent.end("b4", other)
        wait_until(lambda: sent.seated == ["a1", "a2", "b4", "a3"], "the third to be seated")
        sent.end("a3", third)
        assert sent.intake._free_places == PLACES


def test_a_film_that_was_read_is_not_refused_by_a_full_line(films: AtIntake) -> None:
    """Its body is in memory already; it may still wait too long."""
    with films(Intake(1, places=1, longest_wait_s=0.5, prompt_s=0.05)) as sent:
        slow = sent.send("a1", is_slow=True)
        second = sent.send("a2")
        wait_until(lambda: sent.seated == ["a1", "a2"], "the second to be seated")
        third = sent.send("a3")
        sent.may_go["a1"].set()
        with pytest.raises(DecoderBusy, match="too long"):
            slow.result(LONG_S)
        with pytest.raises(DecoderBusy, match="too long"):
            third.result(LONG_S)
        sent.end("a2", second)
        assert sent.intake._free_places == 1


def test_a_prompt_body_keeps_its_seat(films: AtIntake) -> None:
    """What comes after the body may take as long as it wants."""
    intake = Intake(1, prompt_s=0.05, longest_wait_s=0.2)
    with films(intake) as sent, intake.seat("a", is_urgent=False) as turn:
        with intake.reading(turn):
            pass
        with pytest.raises(DecoderBusy, match="too long"):
            sent.pool.submit(lambda: intake.seat("b", is_urgent=False).__enter__()).result(LONG_S)
        assert turn.has_seat


def test_a_refused_film_frees_its_seat() -> None:
    """Whatever ends the block."""
    intake = Intake(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), intake.seat("a", is_urgent=False):
            raise ZeroDivisionError
