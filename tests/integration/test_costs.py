"""What one film costs, by counts: SQL statements, decodes, files, bytes and calls of the network. None is a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from shared.db import queue_queries
from shared.db.claim_order import Claimant
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.domain import Film, Priority
from shared.imaging import stored
from shared.imaging.decode import make_film, read_pixels
from shared.wiring import Resources
from tests.factories import make_pixels, make_png
from tests.fakes import FakeEngine, MemoryBlobs
from tests.jobs import make_batch, register_model
from tests.statements import statements
from web import offload
from web import submit as web_submit
from web.backpressure import Backpressure
from web.jobs import get_job
from web.submit import Upload, submit
from worker.lease import LeaseKeeper
from worker.pipeline import process
from worker.stages import Kitchen

pytestmark = pytest.mark.integration

WHO = Principal("testkey", "default", "uploader")
FILM_BYTES = len(stored.to_bytes(make_pixels()))

UPLOAD_STATEMENTS = 5
"""Is the answer stored; the job and three of the chain. The clock is the test's, which costs none."""

BATCH_STATEMENTS = 13
"""Claim: who waits, the first, those that follow, their rows, the tenant's turn, three of the chain. Finish: the rows,
their results, three of the chain."""


@dataclass(slots=True)
class CountingBlobs(MemoryBlobs):
    """Counts what goes in and out."""

    bytes_written: list[int] = field(default_factory=list)
    bytes_read: list[int] = field(default_factory=list)

    def put(self, tenant: str, job_id: str, data: bytes, sha256: str | None = None) -> str:
        """Count, then keep."""
        assert sha256 == hashlib.sha256(data).hexdigest(), "worked out once, with that of the pixels"
        self.bytes_written.append(len(data))
        return MemoryBlobs.put(self, tenant, job_id, data, sha256)

    def get(self, ref: str, *, is_last: bool = False) -> bytes:
        """Count what is given back."""
        data = MemoryBlobs.get(self, ref, is_last=is_last)
        self.bytes_read.append(len(data))
        return data


@dataclass(slots=True)
class CountingDecoder:
    """Decodes in this process and counts."""

    calls: int = 0

    def start(self) -> None:
        """Nothing to make ready."""

    def decode(self, data: bytes, tenant: str | None = None, sha256: str | None = None) -> Film:
        """Count, then decode."""
        del tenant
        assert sha256, "the web has worked it out"
        self.calls += 1
        return make_film(read_pixels(data), sha256)

    def close(self) -> None:
        """Nothing to end."""


@dataclass
class Shop:
    """A service in one process: a web's half, a worker's half, and what each has cost."""

    resources: Resources
    blobs: CountingBlobs
    decoder: CountingDecoder
    engine: FakeEngine
    kitchen: Kitchen
    admission: Backpressure

    def send(self, *, key: str | None = None, batch_id: str | None = None) -> str:
        """Submit a film; its job's id."""
        upload = Upload(make_png(), Priority.ROUTINE, key, "request", batch_id=batch_id)
        return submit(self.resources, self.admission, WHO, upload).job_id


@pytest.fixture
def shop(resources: Resources, database: Database) -> Shop:
    """A service on either database; the backlog is already counted, as it is once a second, and no second passes."""
    blobs, decoder, engine = CountingBlobs(), CountingDecoder(), FakeEngine()
    own = replace(resources, database=database, blobs=blobs, decoder=decoder)
    register_model(database)
    who = Claimant("w1", tuple(Priority), 8, 20.0)
    kitchen = Kitchen(own, engine, who, LeaseKeeper(database, lease_s=20.0, run_limit_s=60.0))
    admission = Backpressure(database, own.settings, clock=lambda: 0.0)
    admission.admit("default")
    return Shop(own, blobs, decoder, engine, kitchen, admission)


def test_an_upload_is_decoded_and_stored_once(shop: Shop) -> None:
    """One decode, one file of the film's canonical pixels, nothing read back, a handful of statements."""
    with statements(shop.resources.database) as found:
        shop.send()
    assert (shop.decoder.calls, shop.blobs.bytes_written, shop.blobs.bytes_read) == (1, [FILM_BYTES], [])
    assert len(found) <= UPLOAD_STATEMENTS, "\n".join(found)


def test_a_film_of_a_batch_costs_one_statement_more(shop: Shop) -> None:
    """Is there such a batch; to count its jobs is for who asks."""
    batch_id = make_batch(shop.resources.database)
    with statements(shop.resources.database) as found:
        shop.send(batch_id=batch_id)
    assert len(found) <= UPLOAD_STATEMENTS + 1, "\n".join(found)


def test_an_upload_is_hashed_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte takes half a millisecond; the audit's own hashes are of other lengths."""
    lengths: list[int] = []
    sha256 = hashlib.sha256

    def count(data: bytes = b"") -> object:
        lengths.append(len(data))
        return sha256(data)

    monkeypatch.setattr(hashlib, "sha256", count)
    shop.send(key="once")
    assert lengths.count(len(make_png())) == 1


def test_an_upload_has_one_turn_of_a_thread(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storing and, on SQLite, accepting; its key is looked up and its answer read in the loop."""
    turns: list[object] = []
    run_in_thread = offload.run_in_thread

    def count(function: Callable[[], object]) -> object:
        turns.append(function)
        return run_in_thread(function)

    for module in (offload, web_submit):
        monkeypatch.setattr(module, "run_in_thread", count)
    get_job(shop.resources, WHO, shop.send(key="once"))
    assert len(turns) == 1


def test_an_upload_sent_again_is_not_decoded_again(shop: Shop) -> None:
    """The same key: the earlier job, without a decode, a file or a write."""
    first = shop.send(key="once")
    with statements(shop.resources.database) as found:
        assert shop.send(key="once") == first
    assert (shop.decoder.calls, len(shop.blobs.bytes_written)) == (1, 1)
    assert not [statement for statement in found if statement.startswith(("INSERT", "UPDATE"))]


@pytest.mark.parametrize("films", [1, 8])
def test_a_batch_costs_as_many_statements_as_a_film(shop: Shop, films: int) -> None:
    """Each film is read once, never decoded; the network is called once for all."""
    for _ in range(films):
        shop.send()
    with statements(shop.resources.database) as found:
        assert process(shop.kitchen, batches=1).succeeded == films
    assert len(found) <= BATCH_STATEMENTS, "\n".join(found)
    assert shop.engine.batches == [films]
    assert shop.blobs.bytes_read == [FILM_BYTES] * films
    assert shop.decoder.calls == films, "each by the web, none by the worker"


def test_a_poll_that_finds_nothing_writes_nothing(shop: Shop) -> None:
    """One read: whether a film is due."""
    database = shop.resources.database
    with statements(database) as found, database.read() as session:
        assert not queue_queries.has_due(session, database.now(session), tuple(Priority))
    assert len(found) == 1
    assert found[0].startswith("SELECT")
