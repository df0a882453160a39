"""When a delivery is tried again, and what is sent."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import cast

import pytest

from shared.db.deliveries import LEASE_S, RETRY_AFTER_S, Answer, DeliveryClaim
from shared.errors import DatabaseDown
from shared.webhooks import run
from shared.webhooks.dispatch import Dispatcher, pause_s, write_body
from shared.webhooks.post import CONNECT_S, RESOLVE_S, WHOLE_S
from shared.webhooks.run import SENDERS, Running


def claim_of(kind: str, job_id: str | None, batch_id: str | None = None) -> DeliveryClaim:
    """A delivery as a dispatcher holds it."""
    at = datetime(2026, 11, 29, 12, 0, 0, 5, UTC)
    return DeliveryClaim(
        "d", "w", "default", "https://x.example", ("whsec_eA==",), kind, job_id, batch_id, at, 1, 1, at
    )


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "expired"])
def test_what_is_told_of_a_job_is_its_id_its_end_and_its_batch(end: str) -> None:
    """Nothing of the film, and no verdict: that is behind a key."""
    assert json.loads(write_body(claim_of(f"job.{end}", "j", "b"))) == {
        "type": f"job.{end}",
        "timestamp": "2026-11-29T12:00:00.000005Z",
        "data": {"id": "j", "status": end, "batch_id": "b"},
    }


def test_a_ping_says_nothing() -> None:
    """But when it was asked for."""
    told = json.loads(write_body(claim_of("ping", None)))
    assert told == {"type": "ping", "timestamp": "2026-11-29T12:00:00.000005Z", "data": {}}


def test_pauses_are_those_of_the_plan_and_a_little_longer() -> None:
    """5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h, each by its own draw."""
    draw = random.Random(1)  # noqa: S311  jitter
    hours = (2, 5, 10, 14, 20, 24)
    assert list(RETRY_AFTER_S) == [5, 300, 1800, *(3600 * h for h in hours)]
    for tries, planned in enumerate(RETRY_AFTER_S, 1):
        found = {pause_s(tries, draw) for _ in range(20)}
        assert len(found) == 20
        assert all(planned <= pause <= 1.1 * planned for pause in found)


def test_what_is_found_is_sent_before_more_is_looked_for(tmp_path: Path) -> None:
    """However much happens, each look is followed by a claim."""
    turns: list[str] = []

    class Busy:
        ending = Event()

        def look(self) -> int:
            turns.append("look")
            return 1

        def purge(self) -> int:
            return 0

        def claim(self, _room: int, _in_hand: Mapping[str, int]) -> list[DeliveryClaim]:
            turns.append("claim")
            if len(turns) > 6:
                running.end()
            return []

    running = Running(Busy(), tmp_path / "sign")
    running.run()
    assert turns[:6] == ["look", "claim"] * 3


class Away:
    """A dispatcher whose looks fail as told; what it is asked for."""

    def __init__(self, fails: int) -> None:
        self.ending = Event()
        self.fails = fails
        self.turns: list[str] = []

    def look(self) -> int:
        """Fails so often."""
        self.turns.append("look")
        if self.turns.count("look") <= self.fails:
            raise DatabaseDown("away")
        return 0

    def purge(self) -> int:
        """Nothing."""
        return 0

    def claim(self, _room: int, _in_hand: Mapping[str, int]) -> list[DeliveryClaim]:
        """Nothing, and the end."""
        self.turns.append("claim")
        self.ending.set()
        return []


def test_nothing_is_claimed_of_a_database_whose_look_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would say the same once more; it is looked at again after a while, and its sign of life stays old."""
    monkeypatch.setattr(run, "LOOK_RETRY_S", 0.01)
    away = Away(fails=3)
    sign = tmp_path / "sign"
    Running(cast("Dispatcher", away), sign).run()
    assert away.turns == ["look"] * 4 + ["claim"]
    assert sign.exists()


def test_a_try_ends_before_its_lease() -> None:
    """With room for a name that is slowly resolved; and the supervisor waits for those in hand at the end (28 s)."""
    assert WHOLE_S < 28
    assert RESOLVE_S + WHOLE_S < LEASE_S
    assert CONNECT_S < WHOLE_S
    assert SENDERS > 1


@pytest.mark.parametrize(
    ("status", "is_taken"),
    [(200, True), (204, True), (299, True), (199, False), (301, False), (410, False), (500, False)],
)
def test_two_hundreds_alone_are_taken(status: int, is_taken: bool) -> None:  # noqa: FBT001  a case
    """A redirect is not followed, so it is no success."""
    assert Answer(status, None, 1).is_taken is is_taken
    assert Answer(None, "timed_out", 1).is_taken is False
