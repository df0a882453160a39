"""Jobs that are accepted at the same time: in one transaction, each with its own end, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError, NoResultFound

from shared.db import audit, jobs
from shared.db.engine import Database
from shared.db.jobs import JobChanges, NewJob
from shared.db.tables import AuditEvent, AuditHead, Job
from shared.domain import Priority
from shared.wiring import new_job_id
from tests.api import make_tenant
from tests.jobs import make_facts
from tests.statements import commits
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

FILMS = 5


def accept(database: Database, tenant: str, key: str | None) -> str:
    """Insert a job as `web.acceptance` does; its id."""
    job_id = new_job_id()
    new = NewJob(job_id, tenant, "testkey", key, make_facts(seed=job_id), "default/none/none", Priority.ROUTINE, 3, "r")

    def write(changes: JobChanges) -> None:
        changes.insert_queued(new)

    jobs.change_together(database, write)
    return job_id


def accept_together(database: Database, films: Sequence[tuple[str, str | None]]) -> list[str | BaseException]:
    """The job of each film, by tenant and key, or why there is none; all wait behind one other writer."""
    with ThreadPoolExecutor(len(films)) as pool:
        with database.begin_core() as other:
            other.execute(select(AuditHead.seq).where(AuditHead.stream == "default").with_for_update())
            handed = [pool.submit(accept, database, *film) for film in films]
            group = database.group  # one of them leads, and waits for the other writer
            wait_until(lambda: len(group._waiting) == len(films) - 1, "all but one stand in line")
        return [one.exception() or one.result() for one in handed]


def test_films_that_come_at_once_share_commits(database: Database) -> None:
    """The other writer's, the first film's, and one for the rest; all in one chain that holds."""
    with commits(database) as found:
        made = accept_together(database, [("default", None)] * FILMS)
    assert len(found) == 3
    with database.read() as session:
        assert set(session.scalars(select(Job.id))) == set(made)
        assert audit.verify(session) == (FILMS, None)


def test_of_films_with_one_key_the_first_is_accepted(database: Database) -> None:
    """The later ones are refused, and a stranger in the same transaction is not."""
    keys = ("first", "twice", "other", "twice", "third")
    made = accept_together(database, [("default", key) for key in keys])
    refused = [one for one in made if isinstance(one, BaseException)]
    assert [type(one) for one in refused] == [IntegrityError]
    with database.read() as session:
        assert set(session.scalars(select(Job.id))) == set(made) - set(refused)
        assert audit.verify(session) == (FILMS - 1, None)


def test_a_tenant_whose_chain_has_no_head_fails_alone(database: Database) -> None:
    """What cannot be recorded is not accepted; another tenant's film in the same transaction is."""
    make_tenant(database, "clinic")
    with database.begin() as session:
        session.execute(delete(AuditHead).where(AuditHead.stream == "clinic"))
    made = accept_together(database, [("default", None), ("clinic", None), ("default", None)])
    assert [type(one) for one in made] == [str, NoResultFound, str]
    with database.read() as session:
        assert set(session.scalars(select(Job.id))) == {made[0], made[2]}
        events = select(AuditEvent.subject).where(AuditEvent.stream == "default")
        assert set(session.scalars(events)) == {made[0], made[2]}
