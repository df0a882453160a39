"""The use case "process": batches overlap, a turn ends, and whatever fails lets every lease go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from shared.db import jobs
from shared.db.leases import Claim
from shared.db.tables import Job
from shared.domain import JobState
from shared.errors import DatabaseDown
from tests.kitchens import MeddlingEngine, Setting
from tests.waiting import wait_until
from worker.pipeline import BATCHES, process
from worker.stages import BatchReport


def test_batches_overlap(make_setting: Callable[..., Setting]) -> None:
    """While the first is computed the second is claimed, while the second is computed the first is stored."""
    engine = MeddlingEngine()
    setting = make_setting(engine)
    ids = [setting.film() for _ in range(20)]
    waits = iter([(JobState.RUNNING, 16), (JobState.SUCCEEDED, 8), (JobState.SUCCEEDED, 16)])

    def meddle() -> None:
        state, wanted = next(waits)
        wait_until(lambda: setting.count(state) == wanted, f"{wanted} to be {state.value}")

    engine.meddle = meddle
    assert process(setting.kitchen) == BatchReport(claimed=20, succeeded=20)
    assert engine.batches == [8, 8, 4]
    assert [setting.job(job_id).status for job_id in ids] == [JobState.SUCCEEDED] * 20
    assert setting.kitchen.keeper._holdings == []


def test_a_turn_ends_after_a_few_batches(setting: Setting) -> None:
    """And leaves nothing claimed behind."""
    for _ in range(8 * BATCHES + 1):
        setting.film()
    assert process(setting.kitchen).claimed == 8 * BATCHES
    assert (setting.count(JobState.QUEUED), setting.count(JobState.RUNNING)) == (1, 0)


@pytest.mark.parametrize("limit", [1, 8])
def test_beside_a_suspect_nothing_is_in_hand(make_setting: Callable[..., Setting], limit: int) -> None:
    """Whatever its process dies of costs no other film an attempt or an answer: what was before it is stored."""
    engine = MeddlingEngine()
    setting = make_setting(engine)
    kitchen = replace(setting.kitchen, who=replace(setting.kitchen.who, limit=limit))
    before = [setting.film() for _ in range(limit)]
    suspect = setting.film()
    with setting.database.begin() as session:
        session.execute(update(Job).where(Job.id == suspect).values(attempt=1))
        session.execute(update(Job).where(Job.id.in_(before)).values(not_before=datetime(2026, 1, 1, tzinfo=UTC)))
    setting.film()
    seen: list[tuple[int, int]] = []
    engine.meddle = lambda: seen.append((setting.count(JobState.SUCCEEDED), setting.count(JobState.RUNNING)))
    while process(kitchen).claimed:
        pass
    assert seen[1:] == [(limit, 1), (limit + 1, 1)]
    assert engine.batches == [limit, 1, 1]


def test_a_store_that_fails_lets_every_lease_go(
    make_setting: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the batch that could not be stored and of the one claimed meanwhile: the sweeper gives both back."""
    setting = make_setting()
    for _ in range(16):
        setting.film()

    def refuse(*_arguments: object) -> list[Claim]:
        raise DatabaseDown("The database does not answer; try again shortly.")

    monkeypatch.setattr(jobs.JobChanges, "finish", refuse)
    with pytest.raises(DatabaseDown):
        process(setting.kitchen)
    assert setting.count(JobState.RUNNING) == 16
    assert setting.kitchen.keeper._holdings == []
