"""What workers have noted of themselves lasts seconds, and never grows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from shared import idle_workers
from shared.domain import Priority
from shared.idle_workers import KEY, IdleWorkers

NOTED_FOR_S = 3600


@pytest.fixture
def redis(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """A real one, empty, in which nothing is forgotten by its time while a test looks at it."""
    monkeypatch.setattr(idle_workers, "NOTED_FOR_S", NOTED_FOR_S)
    with Redis.from_url(broker_url) as redis:
        redis.flushdb()
        yield redis


def test_what_is_noted_is_forgotten_unless_it_is_noted_again(redis: Redis) -> None:
    """Workers that died busy must not keep films from being rung for."""
    idle = IdleWorkers(redis)
    idle.note_busy("a")
    assert 0 < redis.ttl(KEY) <= NOTED_FOR_S
    assert not idle.may_hear(Priority.STAT)
    redis.persist(KEY)
    idle.note_busy("b")
    assert 0 < redis.ttl(KEY) <= NOTED_FOR_S
    redis.delete(KEY)  # as its time does
    assert idle.may_hear(Priority.STAT)


def test_names_of_dead_workers_do_not_pile_up(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many, and all are forgotten: each ring goes out until the living have noted it again."""
    monkeypatch.setattr(idle_workers, "MOST_NAMES", 3)
    idle = IdleWorkers(redis)
    for number in range(3):
        idle.note_busy(f"worker {number}")
    assert redis.hlen(KEY) == 3
    idle.note_busy("one more")
    assert redis.hlen(KEY) == 0
    assert idle.may_hear(Priority.BULK)


def test_a_class_is_a_word_not_a_part_of_one(redis: Redis) -> None:
    """A worker of no known class is waited for by nobody."""
    idle = IdleWorkers(redis)
    redis.hset(KEY, "a", "statistics")
    assert not idle.may_hear(Priority.STAT)
    idle.note_idle("a", [Priority.BULK, Priority.STAT])
    assert idle.may_hear(Priority.STAT)
