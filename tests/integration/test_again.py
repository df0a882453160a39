"""Films that are classified again, on both databases and through a running service by the command."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from shared.db import again as again_queries
from shared.db import answers, audit, audit_comparison, deletions, jobs
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.db.tables import AuditEvent, Job
from shared.domain import Priority, Role
from shared.errors import JobDeleted
from shared.wiring import Resources
from tests.factories import make_pixels, make_png
from tests.jobs import claim, finish, make_job, serve_model
from tests.service import Service, films, frozen_worker
from tests.statements import statements
from web.acceptance import Accepted
from web.again import Wish, classify_again
from web.backpressure import Backpressure
from web.submit import Upload, submit

pytestmark = pytest.mark.integration

WHO = Principal("testkey", "default", Role.ADMIN)
FILM = make_png(pixels=make_pixels(seed=1))

AGAIN_STATEMENTS = 6
"""Where the film lies; whether it still does; the job and three of the chain."""


@pytest.fixture
def shop(resources: Resources, database: Database) -> Resources:
    """A service without its processes on either database, one worker alive."""
    serve_model(database)
    return replace(resources, database=database)


def make_admission(shop: Resources) -> Backpressure:
    """That counted the backlog just now, and no second passes."""
    made = Backpressure(shop.database, shop.settings, clock=lambda: 0.0)
    made.admit("default")
    return made


def answer(shop: Resources) -> str:
    """A film that is sent and answered by a worker; its job's id."""
    job_id = submit(
        shop, make_admission(shop), WHO, Upload(FILM, Priority.ROUTINE, None, "request", is_fresh=True)
    ).job_id
    finish(shop.database, claim(shop.database)[0])
    return job_id


def ask(shop: Resources, job_id: str, key: str | None = None) -> Accepted:
    """For its film to be classified again."""
    return classify_again(shop, make_admission(shop), WHO, Wish(job_id, Priority.BULK, key, "request"))


def test_it_is_of_the_other_job_until_the_end(shop: Resources) -> None:
    """Told by the chain alone, which holds, and so do the rows; also once the other job is deleted, film and all."""
    job_id = answer(shop)
    made = ask(shop, job_id).job_id
    finish(shop.database, claim(shop.database)[0], verdict="covid19")
    with jobs.changing(shop.database) as changes:
        shop.blobs.delete(deletions.delete_job(changes, WHO, job_id).blob_ref)
    with shop.database.read() as session:
        refs = list(session.scalars(select(Job.blob_ref)))
        assert audit.verify(session)[1] is None
        assert audit_comparison.compare(session) == (1, None)
        assert again_queries.find_origin(session, made) == job_id
        with pytest.raises(JobDeleted):
            again_queries.get_ended_film(session, "default", job_id)
    assert [ref.split("/")[1] for ref in refs] == [made]
    assert shop.blobs.get(refs[0])


def test_two_at_once_by_one_key_make_one_job(shop: Resources) -> None:
    """Whoever comes later gets the earlier one's, and leaves no film behind."""
    job_id = answer(shop)
    with ThreadPoolExecutor(4) as threads:
        made = {receipt.job_id for receipt in threads.map(lambda _: ask(shop, job_id, "mine"), range(4))}
    assert len(made) == 1
    with shop.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 2
        assert audit.verify(session)[1] is None
    assert len(shop.blobs.data) == 2  # type: ignore[attr-defined]  # the fake's


def test_its_answer_is_the_films_newest(shop: Resources) -> None:
    """From then on the same film sent again is answered by it; a job before it learns of it, itself not."""
    job_id = answer(shop)
    made = ask(shop, job_id).job_id
    with shop.database.read() as session:
        digest = session.get_one(Job, job_id).input_sha256
        assert answers.find_newer(session, "default", digest, job_id) is None, "it waits"
    finish(shop.database, claim(shop.database)[0])
    copied = submit(shop, make_admission(shop), WHO, Upload(FILM, Priority.ROUTINE, None, "request")).job_id
    with shop.database.read() as session:
        newer = answers.find_newer(session, "default", digest, job_id)
        assert newer
        assert newer.job_id == made
        assert answers.find_newer(session, "default", digest, made) is None
        assert answers.find_newer(session, "clinic", digest, job_id) is None
        body = session.scalar(
            select(AuditEvent.body).where(AuditEvent.subject == copied, AuditEvent.action == "succeeded")
        )
        assert f'"from_job":"{made}"' in (body or "")


def test_it_costs_a_handful_of_statements(shop: Resources) -> None:
    """One more than a film that is sent."""
    job_id, own = answer(shop), make_admission(shop)
    with statements(shop.database) as found:
        classify_again(shop, own, WHO, Wish(job_id, Priority.BULK, None, "request"))
    assert len(found) <= AGAIN_STATEMENTS, "\n".join(found)


def test_a_film_that_was_sent_is_of_no_other_job(shop: Resources) -> None:
    """Nor is one that is not there."""
    with shop.database.read() as session:
        assert again_queries.find_origin(session, make_job(shop.database)) is None
        assert again_queries.find_origin(session, "none") is None


@pytest.mark.slow
def test_the_command_has_cancelled_films_answered(running_stack: Service) -> None:
    """By the worker, once: called again it finds nothing to do; the trail holds."""
    with frozen_worker(running_stack):
        sent = [running_stack.submit(film) for film in films(2)]
        for job in sent:
            running_stack.http.post(job.links.cancel, headers=running_stack.headers).raise_for_status()
    command = ("again", "cancelled", "--json", "--since", sent[0].created_at.isoformat())
    ran = running_stack.run(*command)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line["again_of"] for line in lines] == [job.id for job in reversed(sent)]
    assert all(running_stack.job(line["job_id"]).priority is Priority.BULK and line["verdict"] for line in lines)
    assert {running_stack.job(job.id).status for job in sent} == {"cancelled"}
    once_more = running_stack.run(*command)
    assert (once_more.returncode, once_more.stdout) == (0, "")
    other = running_stack.run("again", "other-model", "--since", sent[0].created_at.isoformat())
    assert (other.returncode, other.stdout, other.stderr) == (0, "", "0 films are classified again\n")
    assert running_stack.run("audit", "verify").returncode == 0
