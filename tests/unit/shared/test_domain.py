"""What the domain's words promise: states, steps, classes."""

from __future__ import annotations

import dataclasses

import pytest

from shared.domain import TRANSITIONS, FilmFacts, JobState, Priority

ENDS = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}
STEPS = {
    ("queued", "running"),
    ("queued", "cancelled"),
    ("queued", "expired"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("running", "queued"),
}


def test_the_state_machine_has_these_steps_and_no_other() -> None:
    """The table is the drawing in `JobState`, step by step."""
    assert {(a.value, b.value) for a, targets in TRANSITIONS.items() for b in targets} == STEPS


def test_every_state_has_its_row() -> None:
    """No state can be asked for that the table does not know."""
    assert set(TRANSITIONS) == set(JobState)


def test_a_state_is_terminal_where_no_step_leaves_it() -> None:
    """Four states end a job, two do not."""
    assert {state for state in JobState if state.is_terminal} == ENDS


def test_every_state_can_reach_an_end() -> None:
    """No job can wander for ever without a way out."""
    for state in JobState:
        reached, frontier = {state}, [state]
        while frontier:
            for following in TRANSITIONS[frontier.pop()] - reached:
                reached.add(following)
                frontier.append(following)
        assert reached & ENDS, state


def test_ranks_order_the_classes_by_urgency() -> None:
    """Stat before routine before bulk, and the rank leads back to the word."""
    assert [Priority.of_rank(rank).value for rank in (0, 1, 2)] == ["stat", "routine", "bulk"]
    assert all(Priority.of_rank(priority.rank) is priority for priority in Priority)


def test_the_table_of_steps_cannot_be_changed() -> None:
    """Nobody adds a step at run time."""
    with pytest.raises(TypeError):
        TRANSITIONS[JobState.FAILED] = frozenset({JobState.QUEUED})  # type: ignore[index]


def test_facts_are_frozen() -> None:
    """What was seen of a film stays what it was."""
    facts = FilmFacts("png", "L", 8, 64, 48, "a" * 64, "b" * 64)
    with pytest.raises(dataclasses.FrozenInstanceError):
        facts.width_px = 1  # type: ignore[misc]
