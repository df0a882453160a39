"""The use case: decode, store, commit, ring, in this order; of two with one key, one job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import IntegrityError

from shared import wire
from shared.db import jobs
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.db.tables import AuditEvent, Job
from shared.domain import Film, Priority
from shared.errors import (
    DatabaseDown,
    DecoderBusy,
    IdempotencyMismatch,
    IllegalTransition,
    JobNotFound,
    RefusedUpload,
    TenantQueueFull,
    TooLarge,
)
from shared.imaging import stored as stored_films
from shared.imaging.decode import decode
from shared.wiring import Resources
from tests.api import stored
from tests.factories import make_jpeg, make_pixels, make_png
from tests.fakes import MemoryBlobs, PlainDecoder, RecordingQueue
from tests.jobs import claim
from web.backpressure import Backpressure
from web.jobs import cancel, get_job
from web.submit import Upload, submit

WHO = Principal("testkey", "default", "uploader")


def upload(*, data: bytes | None = None, key: str | None = None, priority: Priority = Priority.ROUTINE) -> Upload:
    """An upload of a good film, unless told otherwise."""
    return Upload(make_png() if data is None else data, priority, key, "request")


def send(resources: Resources, film: Upload) -> wire.Job:
    """Submit with a gate of its own."""
    receipt = submit(resources, Backpressure(resources.database, resources.settings), WHO, film)
    return get_job(resources, WHO, receipt.job_id)


@dataclass(slots=True)
class WatchedBlobs(MemoryBlobs):
    """Calls `at_put` before it stores."""

    at_put: Callable[[], object] = lambda: None

    def put(self, tenant: str, job_id: str, data: bytes, sha256: str | None = None) -> str:
        """Tell, then keep."""
        self.at_put()
        return MemoryBlobs.put(self, tenant, job_id, data, sha256)


@dataclass(slots=True)
class WatchedQueue(RecordingQueue):
    """Remembers whether the row was committed when it was rung."""

    resources: Resources | None = None
    rows_seen: list[bool] = field(default_factory=list)

    def classify(self, job_id: str, priority: Priority) -> bool:
        """Look from another connection."""
        assert self.resources is not None
        with self.resources.database.read() as session:
            self.rows_seen.append(session.get(Job, job_id) is not None)
        return RecordingQueue.classify(self, job_id, priority)


class BusyDecoder(PlainDecoder):
    """A decoder whose line is full."""

    def decode(self, data: bytes, tenant: str | None = None, sha256: str | None = None) -> Film:
        """Refuse for now."""
        del data, tenant, sha256
        raise DecoderBusy("Too many films are waiting to be read; send it again in a moment.")


def test_the_film_is_stored_before_its_row(resources: Resources) -> None:
    """When the blob is written there is no row yet; a crash between leaves an orphan, never a lost film."""
    seen = []
    blobs = WatchedBlobs()
    watched = replace(resources, blobs=blobs)
    blobs.at_put = lambda: seen.append(stored(watched))
    send(watched, upload())
    assert seen == [(0, 0)]
    assert stored(watched) == (1, 1)


def test_the_bell_rings_after_the_commit(resources: Resources) -> None:
    """Another connection already sees the row."""
    queue = WatchedQueue(resources=resources)
    send(replace(resources, queue=queue), upload())
    assert queue.rows_seen == [True]


def test_what_is_stored_is_the_canonical_film(resources: Resources) -> None:
    """Pixels only: whatever else was in the file is not kept."""
    pixels = make_pixels(seed=4)
    job = send(resources, upload(data=make_png(pixels=pixels)))
    assert isinstance(resources.blobs, MemoryBlobs)
    (data,) = resources.blobs.data.values()
    assert (stored_films.from_bytes(data) == pixels).all()
    assert job.input.pixels_sha256 == decode(make_png(pixels=pixels)).facts.pixels_sha256


def test_the_row_says_who_and_what(resources: Resources) -> None:
    """Owner, request, attempts, class; one event 'accepted' by the key."""
    job = send(resources, upload(priority=Priority.STAT, key="k"))
    with resources.database.read() as session:
        row = session.get_one(Job, job.id)
        events = session.execute(select(AuditEvent.actor, AuditEvent.action, AuditEvent.subject)).all()
    assert (row.tenant, row.owner, row.request_id, row.idempotency_key) == ("default", "testkey", "request", "k")
    assert (row.priority, row.attempt, row.max_attempts) == (0, 0, resources.settings.max_attempts)
    assert [tuple(event) for event in events] == [("key:testkey", "accepted", job.id)]


@pytest.mark.parametrize("data", [b"", b"x" * 100, make_png()[:-20]])
def test_a_refused_film_leaves_no_trace(resources: Resources, data: bytes) -> None:
    """No blob, no row, no ring."""
    with pytest.raises(RefusedUpload):
        send(resources, upload(data=data))
    assert stored(resources) == (0, 0)
    assert isinstance(resources.queue, RecordingQueue)
    assert resources.queue.rings == []


def test_too_many_bytes_never_reach_the_decoder(resources: Resources) -> None:
    """One byte above the limit is refused unread."""
    settings = resources.settings.model_copy(update={"max_upload_bytes": 1024})
    limited = replace(resources, settings=settings, decoder=BusyDecoder())
    with pytest.raises(TooLarge, match="1024"):
        send(limited, upload(data=bytes(1025)))
    with pytest.raises(DecoderBusy):
        send(limited, upload(data=bytes(1024)))


def test_a_busy_decoder_leaves_no_trace(resources: Resources) -> None:
    """The same film may be sent again."""
    busy = replace(resources, decoder=BusyDecoder())
    with pytest.raises(DecoderBusy):
        send(busy, upload())
    assert stored(busy) == (0, 0)


def test_a_row_that_cannot_be_written_leaves_no_film(resources: Resources) -> None:
    """Who sends it again and again meanwhile does not fill the disk."""

    def lose_a_table() -> None:
        with resources.database.begin() as session:
            session.execute(text("ALTER TABLE jobs RENAME TO jobs_elsewhere"))

    blobs = WatchedBlobs(at_put=lose_a_table)
    with pytest.raises(DatabaseDown):
        send(replace(resources, blobs=blobs), upload())
    assert blobs.data == {}


def test_a_film_whose_commit_may_have_gone_well_stays(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is there, though we were not told."""
    real = Database.begin_core

    @contextmanager
    def losing_the_answer(database: Database) -> Iterator[Connection]:
        with real(database) as sql:
            yield sql
        raise DatabaseDown("The connection was lost.")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "begin_core", losing_the_answer)
        with pytest.raises(DatabaseDown):
            send(resources, upload())
    assert stored(resources) == (1, 1)


def race(resources: Resources, rival: Upload) -> Resources:
    """Resources where `rival` is accepted just before our own row is inserted."""
    blobs = WatchedBlobs()

    def overtake() -> None:
        blobs.at_put = lambda: None
        send(replace(resources, blobs=blobs), rival)

    blobs.at_put = overtake
    return replace(resources, blobs=blobs)


def test_of_two_with_one_key_the_later_gets_the_earliers_job(resources: Resources) -> None:
    """One row, one blob (the loser's is removed), one ring, one event."""
    racing = race(resources, upload(key="k"))
    job = send(racing, upload(key="k"))
    assert stored(racing) == (1, 1)
    assert isinstance(racing.blobs, MemoryBlobs)
    assert [ref.split("/")[1] for ref in racing.blobs.data] == [job.id]
    assert isinstance(racing.queue, RecordingQueue)
    assert racing.queue.rings == [(job.id, Priority.ROUTINE)]
    with racing.database.read() as session:
        assert session.scalars(select(AuditEvent.action)).all() == ["accepted"]


def test_of_two_films_with_one_key_the_later_is_refused(resources: Resources) -> None:
    """And its blob does not stay."""
    racing = race(resources, upload(key="k"))
    with pytest.raises(IdempotencyMismatch):
        send(racing, upload(data=make_jpeg(), key="k"))
    assert stored(racing) == (1, 1)


def test_of_many_at_once_as_many_as_may_wait_are_accepted(resources: Resources) -> None:
    """40 threads, five places, within one second."""
    limited = replace(resources, settings=resources.settings.model_copy(update={"tenant_queue_limit": 5}))
    gate = Backpressure(limited.database, limited.settings, clock=lambda: 0.0)
    gate.admit(WHO.tenant)  # so that the database has been asked: what comes in meanwhile may count twice
    gate.give_back(WHO.tenant)

    def is_accepted(seed: int) -> bool:
        try:
            submit(limited, gate, WHO, upload(data=make_png(pixels=make_pixels(seed=seed))))
        except TenantQueueFull:
            return False
        return True

    with ThreadPoolExecutor(40) as pool:
        assert sum(pool.map(is_accepted, range(40))) == 5
    assert stored(limited) == (5, 5)


def test_a_later_one_with_the_same_key_takes_no_place(resources: Resources) -> None:
    """It gets the earlier's job, and the place that it was given while it came is free again."""
    limited = replace(resources, settings=resources.settings.model_copy(update={"tenant_queue_limit": 3}))
    racing, gate = race(limited, upload(key="k")), Backpressure(limited.database, limited.settings)
    submit(racing, gate, WHO, upload(key="k"))
    for seed in (1, 2, 3):
        submit(racing, gate, WHO, upload(data=make_png(pixels=make_pixels(seed=seed))))
    with pytest.raises(TenantQueueFull):
        submit(racing, gate, WHO, upload())


def test_a_conflict_that_is_not_the_keys_is_a_fault(resources: Resources) -> None:
    """An id given twice is told as what it is, and the blob does not stay."""
    first = send(resources, upload())
    with pytest.raises(IntegrityError):
        send(replace(resources, new_id=lambda: first.id), upload(data=make_jpeg()))
    assert stored(resources) == (1, 1)


def test_cancelling_asks_for_the_right_job(resources: Resources) -> None:
    """Unknown 404, ended 409."""
    with pytest.raises(JobNotFound):
        cancel(resources, WHO, "01997000-0000-7000-8000-000000000000")
    job = send(resources, upload())
    (held,) = claim(resources.database)
    with jobs.changing(resources.database) as changes:
        changes.fail(held, "worker:w1", "x", "x")
    with pytest.raises(IllegalTransition):
        cancel(resources, WHO, job.id)
