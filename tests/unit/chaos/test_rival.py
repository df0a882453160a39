"""What counts as lost in the Celery design: only what nobody can get any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import rival
from tests.chaos.facts import Kind
from tests.chaos.rival_trial import judge


def test_deeds_are_read_back_as_a_trail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start and end of a task become a claim and a success of this process."""
    monkeypatch.setenv("CHAOS_DEEDS", str(tmp_path / "deeds"))
    rival.note("start", "a")
    rival.note("done", "a")
    trail = rival.read_deeds(tmp_path / "deeds")
    assert [(row.action, row.subject) for row in trail] == [("claimed", "a"), ("succeeded", "a")]
    assert trail[0].actor == trail[1].actor
    assert rival.read_deeds(tmp_path / "nothing") == []


def test_lost_is_what_has_no_result_and_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result, be it a failure, or a message that the broker holds is no loss; being done twice is a fault."""
    monkeypatch.setenv("CHAOS_DEEDS", str(tmp_path / "deeds"))
    for key in ("a", "b", "b", "e"):
        rival.note("done", key)
    trail = rival.read_deeds(tmp_path / "deeds")
    faults = judge({"a", "b", "c", "d", "e", "f"}, {"a": "SUCCESS", "b": "SUCCESS", "c": "FAILURE"}, trail, {"d"})
    assert [(fault.kind, fault.subject) for fault in faults] == [
        (Kind.LOST, "e"),
        (Kind.LOST, "f"),
        (Kind.DOUBLED, "b"),
    ]
    assert [fault.why for fault in faults[:2]] == ["its result is gone", "never done to its end"]
