"""Who is next, on both databases: classes, what has aged, tenants in turn, suspects alone; and faults of our own."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import event, insert, select

from shared.db import jobs, leases
from shared.db.engine import Database, make_engine
from shared.db.leases import POISONED
from shared.db.tables import Job
from shared.domain import JobState, Priority
from shared.wiring import new_job_id
from tests.api import make_tenant
from tests.fakes import FixedClock
from tests.jobs import claim, claimant, make_job

pytestmark = pytest.mark.integration


def claim_aged(database: Database, limit: int = 8) -> list[str]:
    """Claim as a worker does at every fourth time; the ids."""
    with jobs.changing(database) as changes:
        return [held.id for held in changes.claim(claimant(limit=limit), aged_first=True)]


def tenants_of(database: Database, ids: list[str]) -> Counter[str]:
    """How many of these jobs each tenant has."""
    with database.read() as session:
        return Counter(session.scalars(select(Job.tenant).where(Job.id.in_(ids))))


def fill(database: Database, count: int, priority: Priority) -> None:
    """So many queued rows, without their events."""
    template_id = make_job(database, priority=priority)
    with database.begin() as session:
        template = session.get_one(Job, template_id)
        row = {column.key: getattr(template, column.key) for column in Job.__table__.columns}
        session.execute(insert(Job), [row | {"id": new_job_id()} for _ in range(count - 1)])


def test_what_has_aged_gets_a_turn(database: Database, clock: FixedClock) -> None:
    """Bulk that waited ten minutes comes before a fresh stat film when the aged are asked for, and only then."""
    old = make_job(database, priority=Priority.BULK)
    clock.advance(601)
    urgent = make_job(database, priority=Priority.STAT)
    assert claim_aged(database, limit=1) == [old]
    assert [held.id for held in claim(database)] == [urgent]


def test_what_has_not_aged_waits_its_turn(database: Database, clock: FixedClock) -> None:
    """Ten minutes less a second: the urgent film is first, however the claim asks."""
    make_job(database, priority=Priority.BULK)
    clock.advance(599)
    urgent = make_job(database, priority=Priority.STAT)
    assert claim_aged(database, limit=1) == [urgent]


def test_an_aged_batch_is_filled_with_what_is_urgent(database: Database, clock: FixedClock) -> None:
    """One aged film does not make a batch of one."""
    old = make_job(database, priority=Priority.ROUTINE)
    clock.advance(601)
    fresh = {make_job(database, priority=Priority.STAT) for _ in range(3)}
    assert set(claim_aged(database)) == {old, *fresh}


def test_a_suspect_that_aged_comes_alone(database: Database, clock: FixedClock) -> None:
    """A film that may kill its process gets its turn too, with nobody beside it."""
    suspect = make_job(database, priority=Priority.BULK)
    claim(database)
    clock.advance(21)
    with jobs.changing(database) as changes:
        changes.requeue_expired()
    clock.advance(601)
    make_job(database, priority=Priority.STAT)
    assert claim_aged(database) == [suspect]


def test_tenants_take_turns(database: Database, clock: FixedClock) -> None:
    """A tenant with one film does not wait behind another's hundred, and batches are shared."""
    make_tenant(database, "clinic")
    for _ in range(20):
        make_job(database)
    clock.advance(1)
    for _ in range(3):
        make_job(database, tenant="clinic")
    batch = claim(database, claimant(limit=4))
    assert tenants_of(database, [held.id for held in batch]) == {"default": 2, "clinic": 2}


def test_what_a_tenant_leaves_goes_to_its_class(database: Database, clock: FixedClock) -> None:
    """One film of the clinic and nine of another tenant: the batch is full, before a less urgent film has a turn."""
    make_tenant(database, "clinic")
    for _ in range(9):
        make_job(database, priority=Priority.STAT)
    make_job(database, priority=Priority.STAT, tenant="clinic")
    make_job(database, priority=Priority.ROUTINE, tenant="clinic")
    clock.advance(1)
    batch = claim(database)
    assert tenants_of(database, [held.id for held in batch]) == {"default": 7, "clinic": 1}


def test_who_was_served_longest_ago_is_first(database: Database, clock: FixedClock) -> None:
    """Batches of one: they alternate, from whoever came first."""
    make_tenant(database, "clinic")
    for tenant in ("default", "default", "clinic", "clinic"):
        make_job(database, tenant=tenant)
        clock.advance(1)
    served: list[str] = []
    for _ in range(4):
        served += tenants_of(database, [claim(database, claimant(limit=1))[0].id])
        clock.advance(1)
    assert served == ["default", "clinic", "default", "clinic"]


@pytest.mark.parametrize("priority", [Priority.STAT, Priority.ROUTINE])
def test_a_suspect_is_not_hidden_by_another_tenants_films(
    database: Database, clock: FixedClock, priority: Priority
) -> None:
    """Tenants that share each batch are served at the same times; who of them waits longest goes first."""
    make_tenant(database, "a-clinic")
    suspect = make_job(database, priority=priority)
    claim(database)
    clock.advance(21)
    with jobs.changing(database) as changes:
        changes.requeue_expired()
    taken: list[str] = []
    for _ in range(3):
        for tenant in ("a-clinic", "default") * 6:
            make_job(database, tenant=tenant, priority=priority)
        clock.advance(10)
        taken += [held.id for held in claim(database)]
    assert suspect in taken


def test_a_class_comes_before_a_turn(database: Database, clock: FixedClock) -> None:
    """A tenant whose turn it is does not get a bulk film past another's stat film."""
    make_tenant(database, "clinic")
    make_job(database)
    claim(database)
    clock.advance(1)
    make_job(database, tenant="clinic", priority=Priority.BULK)
    urgent = make_job(database, priority=Priority.STAT)
    assert [held.id for held in claim(database, claimant(limit=1))] == [urgent]


def test_films_past_their_time_hold_nobody_up(database: Database, clock: FixedClock) -> None:
    """A tenant whose films have all expired, and are not swept yet, leaves its turn to the others of the class."""
    make_tenant(database, "clinic")
    for _ in range(3):
        make_job(database, expires_in_s=5)
    clock.advance(6)
    bulk = make_job(database, priority=Priority.BULK)
    routine = make_job(database, tenant="clinic")
    assert [held.id for held in claim(database, claimant(limit=1))] == [routine]
    assert [held.id for held in claim(database)] == [bulk]


def test_films_that_another_claim_holds_hold_nobody_up(postgres_url: str) -> None:
    """While one worker locks all of a tenant's films, another takes the next tenant's of that class."""
    database = Database(make_engine(postgres_url))
    make_tenant(database, "clinic")
    mine, bulk, theirs = (
        make_job(database),
        make_job(database, priority=Priority.BULK),
        make_job(database, tenant="clinic"),
    )
    with jobs.changing(database) as first:
        assert [held.id for held in first.claim(claimant(limit=1))] == [mine]
        assert [held.id for held in claim(database, claimant(limit=1))] == [theirs]
    assert [held.id for held in claim(database)] == [bulk]
    database.close()


def test_a_stat_film_is_next_behind_ten_thousand_bulk_films(database: Database, clock: FixedClock) -> None:
    """At the head of the very next batch; by the index, without reading the queue."""
    fill(database, 10_000, Priority.BULK)
    clock.advance(1)
    urgent = make_job(database, priority=Priority.STAT)
    clock.advance(1)
    batch = claim(database)
    assert urgent in {held.id for held in batch}
    assert len(batch) == 8


def test_a_claim_asks_few_questions(database: Database) -> None:
    """With one tenant and one class: who waits, the leader, the batch, its update, the turn; then the audit chain."""
    make_job(database)
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda _c, _u, text, *_rest: asked.append(text))
    assert len(claim(database)) == 1
    assert len([text for text in asked if "audit" not in text and "BEGIN" not in text]) == 5


def test_a_fault_of_ours_gives_the_attempt_back(database: Database, clock: FixedClock) -> None:
    """A store that is away does not use a film's attempts up; thirty claims are enough all the same."""
    job_id = make_job(database, max_attempts=3)
    for attempt in range(1, leases.MOST_ATTEMPTS + 1):
        (held,) = claim(database)
        assert held.attempt == attempt
        with jobs.changing(database) as changes:
            state = changes.retry(held, "worker:w1", "storage_down", 1.0, is_ours=True)
        clock.advance(2)
    assert state is JobState.FAILED
    with database.read() as session:
        assert session.get_one(Job, job_id).error_code == POISONED


def test_a_fault_of_the_films_own_counts_after_ours(database: Database, clock: FixedClock) -> None:
    """Two outages, then three failures of its own: poisoned, and not before."""
    make_job(database, max_attempts=3)
    states = []
    for is_ours in (True, True, False, False, False):
        (held,) = claim(database)
        with jobs.changing(database) as changes:
            states.append(changes.retry(held, "worker:w1", "x", 1.0, is_ours=is_ours))
        clock.advance(timedelta(seconds=2).total_seconds())
    assert states == [JobState.QUEUED] * 4 + [JobState.FAILED]
