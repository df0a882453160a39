"""Writes that wait at the same time share a transaction, and each has its own end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.db import group_commit
from shared.db.group_commit import GroupCommit, Write
from shared.errors import DatabaseDown, JobNotFound
from tests.waiting import wait_until

WRITERS = 4


@dataclass(slots=True)
class Rows:
    """An open transaction."""

    written: list[int] = field(default_factory=list)
    is_for_commit: bool = False


class Store:
    """What is committed, transaction by transaction; the first one waits until all the others stand in line."""

    def __init__(self, group: GroupCommit) -> None:
        self.committed: list[list[int]] = []
        self.tried: list[int] = []
        self.at_commit: Callable[[], None] = lambda: None
        self.at_begin: Callable[[], None] = lambda: None
        self._group = group
        self.has_begun = threading.Event()

    @contextmanager
    def begin(self) -> Iterator[Rows]:
        """A transaction: what it was given is there in the end, or nothing of it."""
        if self.has_begun.is_set():
            self.at_begin()
        else:
            self.has_begun.set()
            wait_until(lambda: len(self._group._waiting) == WRITERS - 1, "all the others stand in line")
        rows = Rows()
        yield rows
        rows.is_for_commit = True
        if len(rows.written) > 1:
            self.at_commit()
        self.committed.append(rows.written)


def run_all(store: Store, group: GroupCommit, fails: dict[int, BaseException] | None = None) -> list[Any]:
    """What each of the writers got: 0 is first and alone, the others wait behind it."""

    def write_of(number: int) -> Write:
        def write(rows: Rows) -> None:
            store.tried.append(number)
            if fails and number in fails:
                raise fails[number]
            rows.written.append(number)

        return write

    with ThreadPoolExecutor(WRITERS) as pool:
        handed = [pool.submit(group.run, write_of(0), store.begin)]
        wait_until(store.has_begun.is_set, "the first writes")
        for number in range(1, WRITERS):
            handed.append(pool.submit(group.run, write_of(number), store.begin))
            wait_until(lambda so_many=number: len(group._waiting) == so_many or len(handed) == WRITERS, "its place")
    return [one.exception() for one in handed]


@pytest.fixture
def group() -> GroupCommit:
    """A line nobody stands in."""
    return GroupCommit(threading.Lock)


@pytest.fixture
def store(group: GroupCommit) -> Store:
    """Nothing in it."""
    return Store(group)


def test_those_who_wait_share_one_transaction(group: GroupCommit, store: Store) -> None:
    """In the order in which they came."""
    assert run_all(store, group) == [None] * WRITERS
    assert store.committed == [[0], [1, 2, 3]]


def test_one_that_fails_fails_alone(group: GroupCommit, store: Store) -> None:
    """The others are committed each for itself."""
    error = JobNotFound("No such job.")
    assert run_all(store, group, {2: error}) == [None, None, error, None]
    assert store.committed == [[0], [1], [3]]
    assert store.tried == [0, 1, 2, 1, 2, 3]


def test_a_commit_that_fails_is_not_tried_again(group: GroupCommit, store: Store) -> None:
    """Whether it was one is not known: each is told so."""
    error = RuntimeError("the disk")

    def fail() -> None:
        raise error

    store.at_commit = fail
    assert run_all(store, group) == [None, error, error, error]
    assert (store.committed, store.tried) == ([[0]], [0, 1, 2, 3])


def test_a_database_that_is_away_is_asked_once(group: GroupCommit, store: Store) -> None:
    """Each would wait its time for the lock, one after the other."""
    begun: list[int] = []
    error = DatabaseDown("The database does not answer; try again shortly.")

    def fail() -> None:
        begun.append(1)
        raise error

    store.at_begin = fail
    assert run_all(store, group) == [None, error, error, error]
    assert len(begun) == 1


def test_a_database_that_goes_away_among_single_writes_is_asked_once(group: GroupCommit, store: Store) -> None:
    """One of three failed, so each had its own transaction, of which the second found it gone."""
    begun: list[int] = []
    refused, away = JobNotFound("No such job."), DatabaseDown("The database does not answer; try again shortly.")

    def fail_third() -> None:
        begun.append(1)
        if len(begun) == 3:
            raise away

    store.at_begin = fail_third
    assert run_all(store, group, {1: refused}) == [None, refused, away, away]
    assert (store.committed, len(begun)) == ([[0]], 3)


def test_who_is_done_waits_for_no_later_transaction(group: GroupCommit, store: Store) -> None:
    """The next one leads while the first goes on."""
    is_second, may_end = threading.Event(), threading.Event()

    def begin() -> None:
        is_second.set()
        wait_until(may_end.is_set, "the first writer to go on")

    store.at_begin = begin
    with ThreadPoolExecutor(WRITERS) as pool:
        first = pool.submit(group.run, lambda _: None, store.begin)
        wait_until(store.has_begun.is_set, "the first writes")
        others = [pool.submit(group.run, lambda _: None, store.begin) for _ in range(WRITERS - 1)]
        wait_until(is_second.is_set, "the second transaction")
        wait_until(first.done, "the first writer to be told")
        assert not any(other.done() for other in others)
        may_end.set()
    assert [other.exception() for other in others] == [None] * (WRITERS - 1)


def test_whoever_ends_the_thread_leaves_nobody_waiting(group: GroupCommit, store: Store) -> None:
    """Those behind are told what it was, and the line goes on."""
    error = SystemExit(1)
    assert run_all(store, group, {1: error}) == [None, error, error, error]
    assert store.committed == [[0]]
    group.run(lambda rows: rows.written.append(7), store.begin)
    assert store.committed == [[0], [7]]


class EndableLock:
    """A lock whose waiting thread can be ended as gevent ends a greenlet: at once, or just as it would go on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ends: str | None = None

    def acquire(self) -> bool:
        """Wait for the lock, or for the end."""
        while not self._lock.acquire(timeout=0.01):
            if self.ends == "at once":
                raise SystemExit
        if self.ends:
            raise SystemExit
        return True

    def release(self) -> None:
        """Let one go on."""
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


@pytest.mark.parametrize("ends", ["at once", "as it leads"])
def test_who_is_ended_in_the_line_holds_up_nobody(ends: str) -> None:
    """Its write is not done, and the next one leads."""
    locks: list[EndableLock] = []
    committed: list[list[int]] = []
    may_go = threading.Event()

    def make_lock() -> Any:
        locks.append(EndableLock())
        return locks[-1]

    @contextmanager
    def begin() -> Iterator[Rows]:
        rows = Rows()
        yield rows
        wait_until(may_go.is_set, "the others stand in line")
        committed.append(rows.written)

    group = GroupCommit(make_lock)
    with ThreadPoolExecutor(3) as pool:
        handed = []
        for number in range(3):
            handed.append(pool.submit(group.run, lambda rows, own=number: rows.written.append(own), begin))
            wait_until(lambda: len(locks) == 2 + number and len(group._waiting) == number, "its place")  # noqa: B023
        locks[2].ends = ends
        if ends == "at once":
            wait_until(handed[1].done, "it to be ended")
        may_go.set()
    assert [type(one.exception()) for one in handed] == [type(None), SystemExit, type(None)]
    assert committed == [[0], [2]]


def test_a_transaction_is_bounded(group: GroupCommit, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest has the next one."""
    monkeypatch.setattr(group_commit, "MOST", 2)
    assert run_all(store, group) == [None] * WRITERS
    assert store.committed == [[0], [1, 2], [3]]
