"""Deleting jobs on SQLite and on a real PostgreSQL: what goes, what stays, who may, and who is not disturbed."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from shared import wire
from shared.db import audit, deletions, event_queries, explanation_queries, explanations, jobs, keys, queries
from shared.db.deletions import Deleted
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.db.tables import AuditEvent, DeletedJob, Explanation, Job, Result
from shared.domain import Role
from shared.errors import Forbidden, JobDeleted, JobNotFound, LeaseLost
from tests.explanations import make_explanation, make_map_record, make_result, new_explanation, take
from tests.fakes import FixedClock
from tests.jobs import claim, finish, make_job, make_record, register_model

pytestmark = pytest.mark.integration

ADMIN = Principal("adminkey", "default", Role.ADMIN)
SENDER = Principal("testkey", "default", Role.UPLOADER)
"""The key that `make_job` sends by."""

DAY_S = 86_400.0
LONG_S = 0.5
"""A deletion that nobody holds up takes milliseconds."""


def delete(database: Database, job_id: str, who: Principal = ADMIN) -> Deleted:
    """As the API does."""
    with jobs.changing(database) as changes:
        return deletions.delete_job(changes, who, job_id)


def trail(database: Database, job_id: str) -> list[tuple[str, str]]:
    """(actor, action) of a job's audit events; the chain holds."""
    with database.read() as session:
        assert audit.verify(session)[1] is None
        rows = session.execute(
            select(AuditEvent.actor, AuditEvent.action).where(AuditEvent.subject == job_id).order_by(AuditEvent.seq)
        )
        return [(row.actor, row.action) for row in rows]


def rows_left(database: Database) -> dict[str, int]:
    """How many rows each table has."""
    with database.read() as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Job, Result, Explanation, DeletedJob)
        }


def test_a_job_goes_with_its_result_and_maps_and_its_audit_stays(database: Database) -> None:
    """The film's place is told, so that it can be removed; another job stays whole."""
    kept = make_result(database)
    job_id = make_result(database, blob_ref="default/film/x")
    for of_job, method in ((kept, "gradient"), (job_id, "gradient"), (job_id, "smooth_grad")):
        make_explanation(database, of_job, method=method)
    assert delete(database, job_id) == Deleted(job_id, "default", "default/film/x")
    assert rows_left(database) == {"jobs": 1, "results": 1, "explanations": 1, "deleted_jobs": 1}
    assert trail(database, job_id)[-1] == ("key:adminkey", "deleted")
    assert [action for _, action in trail(database, job_id)][:3] == ["accepted", "claimed", "succeeded"]
    with database.read() as session:
        assert [job.id for job in queries.list_jobs(session, "default", wire.ListQuery()).jobs] == [kept]
        assert sum(queries.count_by_state(session, "default").values()) == 1


def test_who_asks_for_it_learns_that_it_was_deleted(database: Database) -> None:
    """By every way to a job, and only its own tenant; an id that never was is unknown."""
    job_id = make_result(database)
    delete(database, job_id)
    with database.read() as session:
        for ask in (
            lambda tenant, id_: queries.get_job(session, tenant, id_),
            lambda tenant, id_: queries.get_blob_ref(session, tenant, id_),
            lambda tenant, id_: event_queries.get_events(session, tenant, id_),
            lambda tenant, id_: explanation_queries.list_explanations(session, tenant, id_),
            lambda tenant, id_: explanation_queries.get_map(session, tenant, id_, "grad_cam"),
        ):
            with pytest.raises(JobDeleted, match=r"deleted on \d\d \w+ \d{4}"):
                ask("default", job_id)
            for tenant, id_ in (("other", job_id), ("default", "01997000-0000-7000-8000-000000000000")):
                with pytest.raises(JobNotFound) as caught:
                    ask(tenant, id_)
                assert not isinstance(caught.value, JobDeleted)
    with pytest.raises(JobDeleted):
        delete(database, job_id)


def test_a_running_job_is_cancelled_first_and_its_worker_stores_nothing(database: Database) -> None:
    """Who waits for it is told that it has ended; the other film of the batch is answered."""
    job_id, other = make_job(database), make_job(database)
    held = {found.id: found for found in claim(database)}
    delete(database, job_id)
    assert [action for _, action in trail(database, job_id)] == ["accepted", "claimed", "cancelled", "deleted"]
    with pytest.raises(LeaseLost):
        finish(database, held[job_id])
    with pytest.raises(LeaseLost), jobs.changing(database) as changes:
        changes.fail(held[job_id], "worker:w1", "blob_missing", "The stored film is missing.")
    with jobs.changing(database) as changes:
        assert [kept.id for kept in changes.renew(list(held.values()), 20.0)] == [other]
    finish(database, held[other])
    with database.read() as session:
        assert event_queries.list_events(session, [job_id])[job_id][-1].done


def test_a_map_that_is_being_made_is_lost_to_its_worker(database: Database) -> None:
    """Its lease is over: nothing is written of a result that is gone."""
    job_id = make_result(database)
    make_explanation(database, job_id)
    order = take(database)
    assert order is not None
    delete(database, job_id)
    with pytest.raises(LeaseLost), explanations.changing(database) as changes:
        changes.finish(order.held, "w1", make_map_record())
    assert rows_left(database) == {"jobs": 0, "results": 0, "explanations": 0, "deleted_jobs": 1}


def begin_deletion(pool: ThreadPoolExecutor, database: Database, job_id: str) -> Future[Deleted]:
    """In a thread that is under way."""
    begun = threading.Event()

    def begin() -> Deleted:
        begun.set()
        return delete(database, job_id)

    deleting = pool.submit(begin)
    assert begun.wait(60)
    return deleting


def test_a_deletion_waits_for_the_worker_that_is_just_storing_its_result(database: Database) -> None:
    """The result goes as well; without the wait it would be left without a job, which the tables refuse."""
    job_id = make_job(database)
    (held,) = claim(database)
    record = make_record(register_model(database))
    with ThreadPoolExecutor(1) as pool:
        with jobs.changing(database) as changes:
            assert changes.finish("w1", [(held, record)]) == []
            deleting = begin_deletion(pool, database, job_id)
            assert not wait([deleting], timeout=LONG_S).done, "it waits"
        assert deleting.result().id == job_id
    assert rows_left(database) == {"jobs": 0, "results": 0, "explanations": 0, "deleted_jobs": 1}
    assert [action for _, action in trail(database, job_id)] == ["accepted", "claimed", "succeeded", "deleted"]


def test_a_deletion_waits_for_who_is_just_asking_for_a_map(database: Database) -> None:
    """The map goes as well."""
    job_id = make_result(database)
    asked = new_explanation(job_id, register_model(database))
    with ThreadPoolExecutor(1) as pool:
        with explanations.changing(database) as changes:
            changes.insert_queued(asked)
            deleting = begin_deletion(pool, database, job_id)
            assert not wait([deleting], timeout=LONG_S).done, "it waits"
        assert deleting.result().id == job_id
    assert rows_left(database) == {"jobs": 0, "results": 0, "explanations": 0, "deleted_jobs": 1}


@pytest.mark.parametrize(
    ("key", "role", "may"),
    [
        ("other", Role.ADMIN, True),
        ("testkey", Role.UPLOADER, True),
        ("other", Role.UPLOADER, False),
        ("testkey", Role.REVIEWER, True),
        ("other", Role.REVIEWER, False),
        ("testkey", Role.AUDITOR, False),
    ],
)
def test_who_sent_it_and_admins_may_delete(database: Database, key: str, role: Role, *, may: bool) -> None:
    """Nobody else, and then nothing changes."""
    job_id, who = make_job(database), Principal(key, "default", role)
    with database.read_core() as sql:
        assert deletions.may_delete(sql, who, job_id) is may
    if may:
        delete(database, job_id, who)
        return
    with pytest.raises(Forbidden):
        delete(database, job_id, who)
    assert rows_left(database) == {"jobs": 1, "results": 0, "explanations": 0, "deleted_jobs": 0}
    assert [action for _, action in trail(database, job_id)] == ["accepted"]


def test_an_admin_of_another_tenant_deletes_nothing(database: Database) -> None:
    """It is told what is told of any unknown id."""
    job_id = make_job(database)
    with database.begin() as session:
        keys.make_tenant(session, "other", database.now(session))
    with pytest.raises(JobNotFound):
        delete(database, job_id, Principal("adminkey", "other", Role.ADMIN))
    assert rows_left(database)["jobs"] == 1


def test_a_key_of_idempotence_is_free_again(database: Database) -> None:
    """The same film may be sent anew under it."""
    delete(database, make_job(database, idempotency_key="mine"), SENDER)
    make_job(database, idempotency_key="mine")
    assert rows_left(database)["jobs"] == 1


def test_what_ended_long_ago_goes_the_oldest_first_and_what_waits_stays(database: Database, clock: FixedClock) -> None:
    """Up to the limit, of every tenant, each in its own chain."""
    with database.begin() as session:
        keys.make_tenant(session, "other", database.now(session))
    ended = []
    for tenant in ("default", "other", "default"):
        ended.append(make_job(database, tenant=tenant))
        finish(database, claim(database)[0])
        clock.advance(DAY_S)
    waiting = make_job(database)
    clock.advance(DAY_S)  # the three ended four, three and two days ago

    def older_than(days: float, limit: int) -> list[str]:
        with jobs.changing(database) as changes:
            return [gone.id for gone in deletions.delete_ended_before(changes, clock.now - timedelta(days), limit)]

    assert older_than(5, 10) == []
    assert older_than(2.5, 1) == [ended[0]]
    assert older_than(2.5, 10) == [ended[1]]
    assert trail(database, ended[0])[-1] == trail(database, ended[1])[-1] == ("retention", "deleted")
    assert rows_left(database) == {"jobs": 2, "results": 1, "explanations": 0, "deleted_jobs": 2}
    with database.read() as session:
        assert queries.get_job(session, "default", waiting).status == "queued"
