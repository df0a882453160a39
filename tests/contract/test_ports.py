"""What a port promises, asked of the fake and of the real one alike."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from shared import broker
from shared.broker import free_port
from shared.errors import BlobMissing
from shared.imaging.decoders import Decoders
from shared.notify import CHANNEL, RedisNotifier
from shared.ports import BlobStore, Decoder, Notifier
from shared.storage.local import LocalBlobs
from shared.wiring import new_job_id
from tests.brokers import be_patient
from tests.dicoms import make_dicom
from tests.factories import make_jpeg, make_png
from tests.fakes import LocalNotifier, MemoryBlobs, PlainDecoder
from tests.ports import hold_port, port_of
from tests.waiting import LIMIT_S, wait_until

JOB = "01997000-0000-7000-8000-000000000000"


# -- BlobStore -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "local"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """The fake, and the one on disk."""
    return MemoryBlobs() if request.param == "memory" else LocalBlobs(tmp_path / "films")


def age(blobs: BlobStore, ref: str, by: timedelta) -> None:
    """Let a blob be older than it is."""
    then = datetime.now(UTC) - by
    if isinstance(blobs, MemoryBlobs):
        blobs.written_at[ref] = then
    else:
        assert isinstance(blobs, LocalBlobs)
        os.utime(blobs.root / ref, (then.timestamp(), then.timestamp()))


def test_what_was_put_is_got(blobs: BlobStore) -> None:
    """Byte by byte, empty ones too."""
    for data in (b"film", b"", bytes(range(256)) * 1000):
        assert blobs.get(blobs.put("default", JOB, data)) == data


def test_a_reference_names_tenant_job_and_digest(blobs: BlobStore) -> None:
    """So that an orphan can be told by its job, and a damaged blob by its name."""
    assert blobs.put("clinic", JOB, b"film") == f"clinic/{JOB}/{hashlib.sha256(b'film').hexdigest()}"


def test_putting_twice_is_putting_once(blobs: BlobStore) -> None:
    """The same bytes for the same job: one blob."""
    ref = blobs.put("default", JOB, b"film")
    assert blobs.put("default", JOB, b"film") == ref
    assert list(blobs.older_than(datetime.now(UTC) + timedelta(minutes=1))) == [ref]


def test_equal_films_of_two_jobs_are_two_blobs(blobs: BlobStore) -> None:
    """Deleting the one leaves the other."""
    first, second = blobs.put("default", new_job_id(), b"film"), blobs.put("default", new_job_id(), b"film")
    blobs.delete(first)
    assert blobs.get(second) == b"film"


def test_a_copy_is_the_same_film_of_another_job(blobs: BlobStore) -> None:
    """By its own name, in the same tenant; either outlives the other, and copying twice is copying once."""
    for deleted in (0, 1):
        first, other = blobs.put("clinic", new_job_id(), b"film"), new_job_id()
        copied = blobs.copy(first, other)
        assert copied == f"clinic/{other}/{hashlib.sha256(b'film').hexdigest()}" == blobs.copy(first, other)
        refs = [first, copied]
        blobs.delete(refs[deleted])
        assert blobs.get(refs[1 - deleted]) == b"film"
        blobs.delete(refs[1 - deleted])


def test_a_copy_of_an_old_film_is_young(blobs: BlobStore) -> None:
    """A sweep must not take it for an orphan before its job has a row."""
    first = blobs.put("default", new_job_id(), b"film")
    age(blobs, first, timedelta(hours=2))
    blobs.copy(first, new_job_id())
    assert list(blobs.older_than(datetime.now(UTC) - timedelta(hours=1))) == []


def test_a_film_that_is_gone_cannot_be_copied(blobs: BlobStore) -> None:
    """Nothing is left where the copy would have been."""
    ref = blobs.put("default", JOB, b"film")
    blobs.delete(ref)
    with pytest.raises(BlobMissing):
        blobs.copy(ref, new_job_id())
    assert list(blobs.older_than(datetime.now(UTC) + timedelta(hours=1))) == []


def test_what_is_not_there_is_missing(blobs: BlobStore) -> None:
    """Never put, or deleted."""
    ref = blobs.put("default", JOB, b"film")
    blobs.delete(ref)
    for gone in (ref, f"default/{JOB}/{'0' * 64}"):
        with pytest.raises(BlobMissing):
            blobs.get(gone)


def test_deleting_twice_is_harmless(blobs: BlobStore) -> None:
    """As is deleting what never was."""
    ref = blobs.put("default", JOB, b"film")
    blobs.delete(ref)
    blobs.delete(ref)


def test_only_older_blobs_are_named(blobs: BlobStore) -> None:
    """By the time they were written."""
    old, young = blobs.put("default", new_job_id(), b"1"), blobs.put("default", new_job_id(), b"2")
    age(blobs, old, timedelta(hours=2))
    assert list(blobs.older_than(datetime.now(UTC) - timedelta(hours=1))) == [old]
    assert set(blobs.older_than(datetime.now(UTC) + timedelta(hours=1))) == {old, young}


def test_blobs_may_be_deleted_while_they_are_listed(blobs: BlobStore) -> None:
    """The purge does."""
    for n in range(5):
        blobs.put("default", new_job_id(), bytes([n]))
    for ref in blobs.older_than(datetime.now(UTC) + timedelta(hours=1)):
        blobs.delete(ref)
    assert list(blobs.older_than(datetime.now(UTC) + timedelta(hours=1))) == []


# -- Notifier --------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hint is lost to a broker that stands still for some seconds."""
    be_patient(monkeypatch)


@pytest.fixture(params=["local", "redis"])
def notifiers(request: pytest.FixtureRequest) -> Iterator[tuple[Notifier, Notifier]]:
    """Who tells and who hears: two ends of one wire."""
    if request.param == "local":
        local = LocalNotifier()
        yield local, local
        local.close()
        return
    url = request.getfixturevalue("broker_url")
    teller, hearer = RedisNotifier(url), RedisNotifier(url)
    yield teller, hearer
    teller.close()
    hearer.close()


@contextmanager
def hearing(teller: Notifier, hearer: Notifier) -> Iterator[list[str]]:
    """What a listener in a thread of its own hears during the block, from when it hears at all."""
    heard: list[str] = []
    hears = threading.Event()

    def listen() -> None:
        for ids in hearer.listen():
            if "are-you-there" in ids:
                hears.set()
            else:
                heard.extend(ids)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        wait_until(lambda: teller.publish(["are-you-there"]) and hears.is_set(), "the listener to hear")
        yield heard
    finally:
        hearer.close()
        thread.join(60)
    assert not thread.is_alive()


def test_a_hint_is_heard(notifiers: tuple[Notifier, Notifier]) -> None:
    """All ids of it, in order; closing ends who listens."""
    teller, hearer = notifiers
    made = [new_job_id() for _ in range(20)]
    with hearing(teller, hearer) as heard:
        assert teller.publish(made[:8])
        assert teller.publish(made[8:])
        wait_until(lambda: len(heard) == 20, "all of it")
    assert heard == made


def test_nothing_is_told_for_nothing(notifiers: tuple[Notifier, Notifier]) -> None:
    """A pass that changed no job sends nothing."""
    assert not notifiers[0].publish([])


@pytest.mark.parametrize("kind", ["local", "redis"])
def test_a_dead_broker_loses_hints_and_raises_nothing(kind: str) -> None:
    """Whoever publishes goes on at once, whoever listens is told nothing each second, and closing ends it."""
    made: Notifier = (
        LocalNotifier(down=True) if kind == "local" else RedisNotifier(f"redis://127.0.0.1:{free_port()}/0")
    )
    began = time.monotonic()
    assert not any(made.publish(["a"]) for _ in range(8))
    assert time.monotonic() - began < 10
    listened = made.listen()
    assert [list(next(listened)) for _ in range(2)] == [[], []]
    made.close()
    assert list(listened) == []
    made.close()


def test_a_hint_nobody_can_read_is_left_out(broker_url: str) -> None:
    """Whatever somebody else sends on the channel, the listener lives on."""
    teller, hearer = RedisNotifier(broker_url), RedisNotifier(broker_url)
    with Redis.from_url(broker_url) as redis, hearing(teller, hearer) as heard:
        redis.publish(CHANNEL, b"\xff\xfe junk " + b"x" * 100_000)
        teller.publish(["last"])
        wait_until(lambda: heard[-1:] == ["last"], "the next hint")
    teller.close()


def test_a_listener_outlives_its_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed and started again on the same port: it hears again, by itself."""
    held = hold_port()  # so that nobody else has it while the broker is away
    monkeypatch.setattr(broker, "free_port", lambda: port_of(held))
    command, url = broker.configure(tmp_path)
    teller, hearer = RedisNotifier(url), RedisNotifier(url)
    process = _start_broker(command, url)
    try:
        with hearing(teller, hearer) as heard:
            process.kill()
            process.wait()
            assert not teller.publish(["lost"])
            process = _start_broker(command, url)
            wait_until(lambda: teller.publish(["again"]) and "again" in heard, "it to hear again")
            assert "lost" not in heard
    finally:
        process.kill()
        process.wait()
        teller.close()
        held.close()


def _start_broker(command: list[str], url: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    broker.wait_until_up(url, LIMIT_S)
    return process


# -- Decoder ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["plain", "sandbox"])
def decoder(request: pytest.FixtureRequest) -> Iterator[Decoder]:
    """The fake in this process, and the ones in processes of their own."""
    made: Decoder = PlainDecoder() if request.param == "plain" else Decoders(workers=1)
    yield made
    made.close()


@pytest.mark.parametrize("make", [make_png, make_jpeg, make_dicom])
def test_a_film_is_decoded_alike(decoder: Decoder, make: Callable[[], bytes]) -> None:
    """Pixels and facts do not depend on where they were read."""
    data = make()
    film, expected = decoder.decode(data), PlainDecoder().decode(data)
    assert film.facts == expected.facts
    assert (film.pixels == expected.pixels).all()


@pytest.mark.parametrize(
    "data", [b"", b"x" * 100, make_png()[:-30], make_dicom()[:-30]], ids=["empty", "noise", "cut", "dicom"]
)
def test_a_refusal_is_the_same(decoder: Decoder, data: bytes) -> None:
    """Class and sentence."""
    refusals = []
    for each in (decoder, PlainDecoder()):
        with pytest.raises(Exception) as caught:  # noqa: PT011  which one is the question
            each.decode(data)
        refusals.append((type(caught.value), str(caught.value)))
    assert refusals[0] == refusals[1]


def test_a_digest_that_is_given_is_not_worked_out_again(decoder: Decoder) -> None:
    """The caller's stands in the film's facts; that of the pixels is worked out here all the same."""
    own, given = decoder.decode(make_png()).facts, decoder.decode(make_png(), sha256="f" * 64).facts
    assert given == replace(own, input_sha256="f" * 64)


def test_what_was_made_ready_decodes(decoder: Decoder) -> None:
    """Nothing depends on it; it may be asked for once more."""
    decoder.start()
    decoder.start()
    assert decoder.decode(make_png()).facts == PlainDecoder().decode(make_png()).facts


def test_closing_twice_is_harmless(decoder: Decoder) -> None:
    """As the port says."""
    decoder.close()
    decoder.close()
