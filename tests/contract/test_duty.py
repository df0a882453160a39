"""What workers have said of themselves lasts seconds, and never grows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from shared import duty
from shared.domain import Priority
from shared.duty import KEY, SAID_FOR_S, Duty


@pytest.fixture
def redis(broker_url: str) -> Iterator[Redis]:
    """A real one, empty."""
    with Redis.from_url(broker_url) as redis:
        redis.flushdb()
        yield redis


def test_what_is_said_is_forgotten_unless_it_is_said_again(redis: Redis) -> None:
    """Workers that died at work must not keep films from being rung for."""
    said = Duty(redis)
    said.works("a")
    assert 0 < redis.ttl(KEY) <= SAID_FOR_S
    assert not said.is_awaited(Priority.STAT)
    redis.persist(KEY)
    said.works("b")
    assert 0 < redis.ttl(KEY) <= SAID_FOR_S
    redis.delete(KEY)  # as its time does
    assert said.is_awaited(Priority.STAT)


def test_names_of_dead_workers_do_not_pile_up(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many, and all are forgotten: each ring goes out until the living have said it again."""
    monkeypatch.setattr(duty, "MOST", 3)
    said = Duty(redis)
    for number in range(3):
        said.works(f"worker {number}")
    assert redis.hlen(KEY) == 3
    said.works("one more")
    assert redis.hlen(KEY) == 0
    assert said.is_awaited(Priority.BULK)


def test_a_class_is_a_word_not_a_part_of_one(redis: Redis) -> None:
    """A worker of no known class is waited for by nobody."""
    said = Duty(redis)
    redis.hset(KEY, "a", "statistics")
    assert not said.is_awaited(Priority.STAT)
    said.sleeps("a", [Priority.BULK, Priority.STAT])
    assert said.is_awaited(Priority.STAT)
