"""How long films of killed workers wait, computed by hand."""

from __future__ import annotations

import math

from tests.chaos.facts import AuditRow
from tests.chaos.recovery import Death, Span, held_at_death, is_covered, percentile, recoveries, without


def trail(*steps: tuple[float, str, str]) -> list[AuditRow]:
    """The audit trail of one film from (at, actor, action)."""
    return [AuditRow(seq, at, actor, action, "film") for seq, (at, actor, action) in enumerate(steps, 1)]


TAKEN_OVER = trail(
    (1.0, "key:k", "accepted"),
    (2.0, "worker:vm:1", "claimed"),
    (14.0, "sweeper", "requeued"),
    (15.0, "worker:vm:2", "claimed"),
    (16.0, "worker:vm:2", "succeeded"),
)
DIED = [Death("vm:1", 3.0)]
OTHER = Span("vm:2", 0.0, 20.0)


def test_it_is_measured_from_the_death_to_the_next_claim() -> None:
    """Dead at 3, claimed again at 15: 12 s."""
    assert recoveries(DIED, TAKEN_OVER, [OTHER]) == [12.0]
    assert recoveries(DIED, TAKEN_OVER, [OTHER], until="requeued") == [11.0]
    assert held_at_death(DIED, TAKEN_OVER) == 1


def test_it_is_not_counted_where_nobody_else_lived() -> None:
    """No other worker, one that began too late, one that ended in between: none of these counts."""
    late, early = Span("vm:2", 10.0, 20.0), Span("vm:2", 0.0, 9.0)
    own = Span("vm:1", 0.0, 20.0)
    assert [recoveries(DIED, TAKEN_OVER, [span]) for span in (late, early, own)] == [[], [], []]


def test_two_others_may_take_turns() -> None:
    """One lives until the next is there."""
    assert recoveries(DIED, TAKEN_OVER, [Span("vm:2", 0.0, 9.0), Span("vm:3", 8.0, 20.0)]) == [12.0]


def test_a_film_that_its_worker_ended_was_not_held() -> None:
    """A worker that dies after its last film left nothing behind."""
    ended = trail((1.0, "key:k", "accepted"), (2.0, "worker:vm:1", "claimed"), (2.5, "worker:vm:1", "succeeded"))
    assert recoveries(DIED, ended, [OTHER]) == []
    assert held_at_death(DIED, ended) == 0


def test_a_film_that_was_taken_away_before_the_death_was_not_held() -> None:
    """A cancelled film, or one given back by the sweeper, is nobody's when the worker dies later."""
    cancelled = trail((2.0, "worker:vm:1", "claimed"), (2.5, "key:k", "cancelled"))
    assert held_at_death(DIED, cancelled) == 0
    assert recoveries([Death("vm:1", 14.5)], TAKEN_OVER, [OTHER]) == []


def test_a_frozen_worker_is_no_other_worker() -> None:
    """What is left of a span are the times before and after the freeze."""
    left = without(Span("vm:2", 0.0, 20.0), [(5.0, 12.0)])
    assert left == [Span("vm:2", 0.0, 5.0), Span("vm:2", 12.0, 20.0)]
    assert not is_covered(3.0, 15.0, left)
    assert without(Span("vm:2", 0.0, 4.0), [(5.0, 12.0)]) == [Span("vm:2", 0.0, 4.0)]


def test_percentiles_are_nearest_ranks() -> None:
    """Of ten values the 99th is the largest, the 50th the fifth; of none there is none."""
    values = [float(n) for n in range(10, 0, -1)]
    assert (percentile(values, 0.99), percentile(values, 0.5)) == (10.0, 5.0)
    assert math.isnan(percentile([], 0.99))
