"""What the port Queue promises, asked of the fake and of the real one alike."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from shared import idle_workers
from shared.breaker import Breaker
from shared.broker import free_port
from shared.domain import EXPLAIN_QUEUE, Priority
from shared.ports import Queue
from shared.queueing import CLASSIFY, EXPLAIN, KEY_PREFIX, CeleryQueue
from shared.wiring import new_job_id
from tests.brokers import be_patient
from tests.fakes import RecordingQueue

Read = Callable[[], list[tuple[str, str]]]


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker is waited for, and what workers have noted of themselves lasts, as long as a busy machine takes."""
    be_patient(monkeypatch)
    monkeypatch.setattr(idle_workers, "NOTED_FOR_S", 3600)


@pytest.fixture(params=["recording", "celery"])
def bell(request: pytest.FixtureRequest) -> Iterator[tuple[Queue, Read]]:
    """A queue, and what was rung on it: (job or explanation id, queue)."""
    if request.param == "recording":
        recording = RecordingQueue()
        yield (
            recording,
            lambda: [
                *((job_id, priority.value) for job_id, priority in recording.rings),
                *((explanation_id, EXPLAIN_QUEUE) for explanation_id in recording.explained),
            ],
        )
        return
    url = request.getfixturevalue("broker_url")
    with Redis.from_url(url) as redis:
        redis.flushdb()
        queue = CeleryQueue(url, alone_s=3600.0)
        yield queue, lambda: [ring for name in (*Priority, EXPLAIN_QUEUE) for ring in _messages(redis, name)]
        queue.close()


@pytest.fixture(params=["recording", "celery"])
def dead_bell(request: pytest.FixtureRequest) -> Iterator[Queue]:
    """A queue whose broker is not there."""
    if request.param == "recording":
        yield RecordingQueue(down=True)
        return
    queue = CeleryQueue(f"redis://127.0.0.1:{free_port()}/0")
    yield queue
    queue.close()


def _messages(redis: Redis, name: str) -> list[tuple[str, str]]:
    rings = []
    for raw in reversed(redis.lrange(KEY_PREFIX + name, 0, -1)):
        message = json.loads(raw)
        assert message["headers"]["task"] == (EXPLAIN if name == EXPLAIN_QUEUE else CLASSIFY)
        assert message["content-type"] == "application/json"
        rings.append((json.loads(message["headers"]["argsrepr"].replace("'", '"'))[0], name))
    return rings


def test_a_ring_carries_the_job_and_its_class(bell: tuple[Queue, Read]) -> None:
    """One message a film, in the queue of its class."""
    queue, read = bell
    made = [(new_job_id(), priority) for priority in Priority]
    assert [queue.classify(job_id, priority) for job_id, priority in made] == [True, True, True]
    assert sorted(read()) == sorted((job_id, priority.value) for job_id, priority in made)


def test_a_ring_for_an_explanation_goes_to_its_own_queue(bell: tuple[Queue, Read]) -> None:
    """Beside those of the films, by its own task."""
    queue, read = bell
    film, explanation = new_job_id(), new_job_id()
    assert queue.explain(explanation)
    assert queue.classify(film, Priority.STAT)
    assert read() == [(film, "stat"), (explanation, "explain")]


def test_rings_come_in_the_order_they_were_made(bell: tuple[Queue, Read]) -> None:
    """Within a class."""
    queue, read = bell
    ids = [new_job_id() for _ in range(5)]
    for job_id in ids:
        queue.classify(job_id, Priority.ROUTINE)
    assert [job_id for job_id, _ in read()] == ids


def test_nobody_is_rung_for_while_all_workers_are_busy(bell: tuple[Queue, Read]) -> None:
    """One that is idle for the film's class is enough for a ring; one that is idle for another class is not."""
    queue, read = bell

    def rings(priority: Priority) -> int:
        before = len(read())
        assert queue.classify(new_job_id(), priority)
        return len(read()) - before

    assert rings(Priority.ROUTINE) == 1, "nobody has noted anything"
    queue.note_busy("a")
    assert rings(Priority.ROUTINE) == 0
    queue.note_idle("b", [Priority.BULK])
    assert (rings(Priority.ROUTINE), rings(Priority.BULK)) == (0, 1)
    queue.note_idle("a", list(Priority))
    assert rings(Priority.ROUTINE) == 1
    queue.note_busy("a")
    queue.forget("b")
    assert rings(Priority.BULK) == 0
    queue.forget("a")
    assert rings(Priority.BULK) == 1


def test_a_film_alone_is_rung_for_unasked(broker_url: str) -> None:
    """Nobody is busy for long where films come one by one."""
    with Redis.from_url(broker_url) as redis:
        redis.flushdb()
        queue = CeleryQueue(broker_url, alone_s=-1.0)
        queue.note_busy("a")
        assert all(queue.classify(new_job_id(), Priority.STAT) for _ in range(2))
        assert redis.llen(KEY_PREFIX + "stat") == 2
        queue.close()


def test_an_explanation_is_rung_for_whoever_is_busy(bell: tuple[Queue, Read]) -> None:
    """What is looked for after a batch is films."""
    queue, read = bell
    queue.note_busy("a")
    explanation = new_job_id()
    assert queue.explain(explanation)
    assert read() == [(explanation, "explain")]


def test_a_living_broker_is_up(bell: tuple[Queue, Read]) -> None:
    """As /readyz asks."""
    assert bell[0].is_up()


def test_the_backlog_counts_rings_for_films(bell: tuple[Queue, Read]) -> None:
    """Over all classes; those for explanations wait elsewhere."""
    queue, _ = bell
    for priority in Priority:
        queue.classify(new_job_id(), priority)
    queue.explain(new_job_id())
    assert queue.backlog() == 3


def test_a_dead_brokers_backlog_is_not_known(dead_bell: Queue) -> None:
    """None is not zero: nothing is rung on the strength of it."""
    assert dead_bell.backlog() is None


def test_a_broker_that_failed_five_times_is_not_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sixth ring costs no connection: requests do not queue up behind a dead broker."""
    queue = CeleryQueue(f"redis://127.0.0.1:{free_port()}/0")
    tried: list[tuple[str, ...]] = []
    send = queue._send
    monkeypatch.setattr(queue, "_alone_s", -1.0)
    monkeypatch.setattr(queue, "_breaker", Breaker(clock=lambda: 0.0))
    monkeypatch.setattr(queue, "_send", lambda *ring: (tried.append(ring), send(*ring)))
    assert not any(queue.classify(new_job_id(), Priority.STAT) for _ in range(8))
    assert len(tried) == 5
    queue.close()


def test_a_dead_broker_is_told_and_not_raised(dead_bell: Queue) -> None:
    """A request that rings is answered all the same."""
    assert not dead_bell.is_up()
    assert not dead_bell.classify(new_job_id(), Priority.STAT)
    assert not dead_bell.explain(new_job_id())


def test_a_ring_carries_an_id_and_nothing_else(broker_url: str) -> None:
    """No pixels, no names, no pickle: the message has no authority."""
    job_id = new_job_id()
    with Redis.from_url(broker_url) as redis:
        redis.flushdb()
        queue = CeleryQueue(broker_url)
        queue.classify(job_id, Priority.STAT)
        (raw,) = redis.lrange(KEY_PREFIX + "stat", 0, -1)
        queue.close()
    arguments, keywords, _ = json.loads(base64.b64decode(json.loads(raw)["body"]))
    assert (arguments, keywords) == ([job_id], {})
