"""The same film again, on both databases: answered from the stored result, as a job of its own, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from shared import wire
from shared.db import answers, audit, jobs, queries, queue_queries
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.db.tables import AuditEvent, Job, Model, Result, WorkerHeartbeat
from shared.domain import Priority
from shared.errors import JobNotFound, StorageFull
from shared.wiring import Resources
from tests.api import make_tenant
from tests.factories import make_pixels, make_png
from tests.fakes import FixedClock, MemoryBlobs, RecordingQueue
from tests.jobs import claim, finish, register_model
from web.backpressure import Backpressure
from web.jobs import get_job
from web.submit import Upload, submit

pytestmark = pytest.mark.integration

ME, STRANGER = Principal("testkey", "default", "uploader"), Principal("other", "clinic", "uploader")
FILM = make_png(pixels=make_pixels(seed=1))


@dataclass
class Shop:
    """A service without its processes: what a web process and a worker would do, by hand."""

    resources: Resources

    @property
    def database(self) -> Database:
        """Its database."""
        return self.resources.database

    def send(
        self, data: bytes = FILM, who: Principal = ME, *, key: str | None = None, is_fresh: bool = False
    ) -> wire.Job:
        """Submit a film."""
        admission = Backpressure(self.database, self.resources.settings)
        return get_job(
            self.resources,
            who,
            submit(
                self.resources, admission, who, Upload(data, Priority.ROUTINE, key, "request", None, is_fresh)
            ).job_id,
        )

    def work(self) -> int:
        """Answer what waits."""
        held = claim(self.database)
        for each in held:
            finish(self.database, each)
        return len(held)

    def answered(self, data: bytes = FILM, who: Principal = ME) -> wire.Job:
        """A film that a worker has answered."""
        job = self.send(data, who)
        assert self.work() == 1
        return self.get(job.id, who)

    def get(self, job_id: str, who: Principal = ME) -> wire.Job:
        """As the API has it."""
        with self.database.read() as session:
            return queries.get_job(session, who.tenant, job_id)

    def trail(self, job_id: str) -> list[AuditEvent]:
        """Its audit events."""
        with self.database.read() as session:
            return list(
                session.scalars(select(AuditEvent).where(AuditEvent.subject == job_id).order_by(AuditEvent.seq))
            )

    def beat(
        self, model_sha256: str, *, worker: str = "w1", queues: str = "stat,routine,bulk", age_s: float = 0
    ) -> None:
        """A worker's sign of life."""
        with self.database.begin() as session:
            now = self.database.now(session)
            session.merge(
                WorkerHeartbeat(
                    worker=worker, queues=queues, model_sha256=model_sha256, device="cpu", golden="passed",
                    started_at=now, polled_at=now - timedelta(seconds=age_s),
                )
            )  # fmt: skip

    def other_model(self) -> str:
        """A second model that is known."""
        with self.database.begin() as session:
            row = Model(
                weights_sha256="e" * 64,
                name="other",
                version="1",
                manifest="{}",
                registered_at=self.database.now(session),
            )
            session.merge(row)
        return "e" * 64

    def counts(self) -> tuple[int, int]:
        """(rings, jobs that wait)."""
        assert isinstance(self.resources.queue, RecordingQueue)
        with self.database.read() as session:
            return len(self.resources.queue.rings), sum(queue_queries.count_queued(session).values())


@pytest.fixture
def shop(resources: Resources, database: Database) -> Shop:
    """On either database, with one worker alive and two tenants."""
    make_tenant(database, "clinic")
    made = Shop(replace(resources, database=database))
    made.beat(register_model(database))
    return made


def test_the_same_film_is_answered_from_the_store(shop: Shop) -> None:
    """At once, with the same result; nobody is rung, nothing waits, and no attempt is counted."""
    first = shop.answered()
    before = shop.counts()
    again = shop.send()
    assert shop.counts() == before
    assert again.id != first.id
    assert (again.status, again.done, again.cached, again.attempt, again.started_at) == (
        "succeeded",
        True,
        True,
        0,
        None,
    )
    assert not first.cached
    assert (again.input, again.model) == (first.input, first.model)
    assert without_links(again) == without_links(first)
    assert shop.get(again.id) == again


def without_links(job: wire.Job) -> dict[str, object]:
    """The result, but for where its map is and which audit event recorded it."""
    assert job.result is not None
    told = job.result.model_dump()
    assert told.pop("receipt")
    for explanation in told["explanations"]:
        assert job.id in explanation.pop("href")
    return told


def test_it_has_one_of_everything_of_its_own(shop: Shop) -> None:
    """One row, one result, one 'accepted', one end that names the source; a film file of its own; the chain holds."""
    first = shop.answered()
    again = shop.send()
    accepted, succeeded = shop.trail(again.id)
    assert (accepted.action, accepted.actor) == ("accepted", "key:testkey")
    assert (succeeded.action, succeeded.actor) == ("succeeded", "system")
    assert f'"from_job":"{first.id}"' in succeeded.body
    assert '"verdict":"normal"' in succeeded.body
    assert accepted.seq + 1 == succeeded.seq
    with shop.database.read() as session:
        results = session.execute(select(Result.job_id, Result.attempt, Result.worker).order_by(Result.job_id)).all()
        refs = list(session.scalars(select(Job.blob_ref).order_by(Job.id)))
        assert audit.verify(session)[1] is None
    assert [tuple(row) for row in results] == [(first.id, 1, "w1"), (again.id, 0, "w1")]
    assert [ref.split("/")[:2] for ref in refs] == [["default", first.id], ["default", again.id]]
    assert refs[0].split("/")[2] == refs[1].split("/")[2]
    assert shop.resources.blobs.get(refs[0]) == shop.resources.blobs.get(refs[1])


def test_a_copy_is_never_copied(shop: Shop) -> None:
    """However often it comes, the trail leads to the job that a worker answered."""
    first = shop.answered()
    for _ in range(3):
        assert f'"from_job":"{first.id}"' in shop.trail(shop.send().id)[1].body


def test_another_tenants_result_is_never_used(shop: Shop) -> None:
    """Not even where the film, the model and the moment are the same."""
    shop.answered()
    with shop.database.read() as session:
        digest, now = hashlib.sha256(FILM).hexdigest(), shop.database.now(session)
        assert answers.find_answered(session, now, "default", digest)
        assert answers.find_answered(session, now, "clinic", digest) is None
    theirs = shop.send(who=STRANGER)
    assert (theirs.status, theirs.cached) == ("queued", False)
    assert shop.work() == 1
    assert shop.send(who=STRANGER).cached


def test_a_foreign_source_is_refused_by_the_state_machine_too(shop: Shop) -> None:
    """Whoever names it: another tenant's job, one that has no result, one that is not there."""
    mine = shop.answered()
    waiting = shop.send(make_png(pixels=make_pixels(seed=2)))
    film = shop.resources.decoder.decode(FILM)
    for source, tenant in ((mine.id, "clinic"), (waiting.id, "default"), ("0" * 36, "default")):
        new = jobs.NewJob(shop.resources.new_id(), tenant, "k", None, film.facts, "x/y/z", Priority.STAT, 3, "r")
        with pytest.raises(JobNotFound), jobs.changing(shop.database) as changes:
            changes.insert_answered(new, source)
        assert shop.trail(new.id) == []


def test_another_film_is_not_answered(shop: Shop) -> None:
    """By its bytes: the same picture encoded otherwise is another film."""
    shop.answered()
    for other in (make_png(pixels=make_pixels(seed=2)), make_png(pixels=make_pixels(seed=1), compress_level=1)):
        assert shop.send(other).status == "queued"


def test_a_worker_answers_where_it_is_asked_for(shop: Shop) -> None:
    """`is_fresh` goes to the queue, and its answer is the source from then on."""
    first = shop.answered()
    fresh = shop.send(is_fresh=True)
    assert fresh.status == "queued"
    shop.work()
    assert fresh.id != first.id
    assert f'"from_job":"{fresh.id}"' in shop.trail(shop.send().id)[1].body


def nobody(shop: Shop) -> None:
    """All workers are silent."""
    shop.beat(register_model(shop.database), age_s=20)


def replaced(shop: Shop) -> None:
    """Another model serves."""
    shop.beat(shop.other_model())


def mixed(shop: Shop) -> None:
    """Two models serve."""
    shop.beat(shop.other_model(), worker="w2")


def older_code(shop: Shop) -> None:
    """The result is of another version of the code."""
    with shop.database.begin() as session:
        session.execute(update(Result).values(code_version="0.0"))


def lost_film(shop: Shop) -> None:
    """The earlier job's film is gone."""
    assert isinstance(shop.resources.blobs, MemoryBlobs)
    shop.resources.blobs.data.clear()


@pytest.mark.parametrize("change", [nobody, replaced, mixed, older_code, lost_film])
def test_in_doubt_a_worker_answers(shop: Shop, change: Callable[[Shop], None]) -> None:
    """Where it is not certain that the same answer would come."""
    shop.answered()
    change(shop)
    assert (shop.send().status, shop.counts()[1]) == ("queued", 1)


def test_who_only_explains_has_no_say(shop: Shop) -> None:
    """A worker with another model that takes no films does not matter."""
    shop.answered()
    shop.beat(shop.other_model(), worker="w2", queues="explain")
    assert shop.send().cached


@pytest.mark.parametrize("end", ["cancelled", "failed", "queued"])
def test_only_a_result_is_a_source(shop: Shop, end: str) -> None:
    """A job that ended otherwise, or has not, answers nobody."""
    job = shop.send()
    with jobs.changing(shop.database) as changes:
        if end == "cancelled":
            changes.cancel("default", job.id, "key:k")
    if end == "failed":
        (held,) = claim(shop.database)
        with jobs.changing(shop.database) as changes:
            changes.fail(held, "worker:w1", "blob_missing", "Gone.")
    assert shop.send().status == "queued"


def test_a_key_makes_one_job_of_it(shop: Shop) -> None:
    """Sent again with its key it is the same job; eight at once with one key are one job, one result, one trail."""
    shop.answered()
    first = shop.send(key="a")
    assert first.cached
    assert shop.send(key="a") == first
    with ThreadPoolExecutor(8) as pool:
        found = {each.id for each in pool.map(lambda _: shop.send(key="b"), range(8))}
    assert len(found) == 1
    (only,) = found
    assert [row.action for row in shop.trail(only)] == ["accepted", "succeeded"]
    with shop.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 3
        assert audit.verify(session)[1] is None
    assert isinstance(shop.resources.blobs, MemoryBlobs)
    assert len(shop.resources.blobs.data) == 3


def test_it_needs_no_room_in_the_queue_but_on_the_disk(shop: Shop) -> None:
    """A full queue answers it, a full disk does not."""
    shop.answered()
    shop.send(make_png(pixels=make_pixels(seed=2)))
    full = shop.resources.settings.model_copy(update={"queue_limit": 1, "tenant_queue_limit": 1})
    assert Shop(replace(shop.resources, settings=full)).send().cached
    no_disk = shop.resources.settings.model_copy(update={"min_free_bytes": 2**62})
    with pytest.raises(StorageFull):
        Shop(replace(shop.resources, settings=no_disk)).send()


def test_what_no_worker_took_does_not_count_as_work_done(shop: Shop, clock: FixedClock) -> None:
    """The rate behind `Retry-After` is the workers': no copy adds to it, and no film cancelled before its turn."""
    shop.answered()

    def rates() -> tuple[float, float]:
        with shop.database.read() as session:
            return queue_queries.finish_rate(session, clock.now), queue_queries.work_rate(session, clock.now)

    before = rates()
    for _ in range(5):
        assert shop.send().cached
    waiting = shop.send(make_png(pixels=make_pixels(seed=2)))
    with jobs.changing(shop.database) as changes:
        changes.cancel("default", waiting.id, "key:any")
    assert rates() == before
    assert min(before) > 0
