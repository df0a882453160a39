"""How long a film waits whose worker was killed: from the confirmed death to the next claim of that film. Pure.

Counted only where another worker could work all the while, alive and with a database: else nobody could take it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.facts import AuditRow, trails_of

GAP_S = 0.5
"""Two spans with a smaller gap count as one: a process is looked at a few times a second."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a worker could work: wall times of its first and last sign."""

    worker: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Death:
    """When a worker was seen dead."""

    worker: str
    at: float


def recoveries(
    deaths: Iterable[Death], audit: Sequence[AuditRow], spans: Sequence[Span], until: str = "claimed"
) -> list[float]:
    """Seconds of each film that a dead worker held, until it was claimed again.

    Args:
        until: 'requeued' measures until it was given back: without its wait in line behind other films.
    """
    died = {death.worker: death.at for death in deaths}
    found = []
    for trail in trails_of(audit).values():
        for death_at, again_at in _interrupted(trail, died, until):
            others = [span for span in spans if died.get(span.worker) != death_at]
            if is_covered(death_at, again_at, others):
                found.append(max(0.0, again_at - death_at))
    return found


def held_at_death(deaths: Iterable[Death], audit: Sequence[AuditRow]) -> int:
    """How many films were in the hands of the killed."""
    died = {death.worker: death.at for death in deaths}
    return sum(_is_held(trail, place, died) for trail in trails_of(audit).values() for place in range(len(trail)))


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; not a number where there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def is_covered(start: float, end: float, spans: Iterable[Span]) -> bool:
    """True where at each moment from `start` to `end` one of the workers lived."""
    reached = start
    for span in sorted(spans, key=lambda span: span.start):
        if span.start <= reached + GAP_S and span.end > reached:
            reached = span.end
        if reached + GAP_S >= end:
            return True
    return False


def without(span: Span, pauses: Iterable[tuple[float, float]]) -> list[Span]:
    """What is left of a span in which its worker was frozen for a while."""
    left, start = [], span.start
    for begin, end in sorted(pauses):
        if begin > start:
            left.append(Span(span.worker, start, min(begin, span.end)))
        start = max(start, end)
    return [*left, Span(span.worker, start, span.end)] if start < span.end else left


def _interrupted(trail: Sequence[AuditRow], died: Mapping[str, float], until: str) -> Iterable[tuple[float, float]]:
    """(death, next event `until`) of each claim of this film that its worker did not live to end."""
    for place, row in enumerate(trail):
        if _is_held(trail, place, died):
            again = next((later for later in trail[place + 1 :] if later.action == until), None)
            if again is not None:
                yield died[_worker(row)], again.at


def _is_held(trail: Sequence[AuditRow], place: int, died: Mapping[str, float]) -> bool:
    row = trail[place]
    if row.action != "claimed" or _worker(row) not in died:
        return False
    following = trail[place + 1] if place + 1 < len(trail) else None
    is_given_back = following is None or following.actor != row.actor
    is_over = following is not None and following.at < died[_worker(row)]
    return is_given_back and not is_over


def _worker(row: AuditRow) -> str:
    return row.actor.removeprefix("worker:")
