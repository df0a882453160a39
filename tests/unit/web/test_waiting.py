"""The waiting room: woken by a hint, at the latest by the next look; a bounded number of questions; limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import event

from shared.db import jobs
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.domain import JobState
from shared.errors import AppError, DatabaseDown, StorageFull, TenantWaitersFull, WaitersFull
from shared.wiring import Resources
from tests.api import make_tenant
from tests.fakes import LocalNotifier
from tests.jobs import claim, finish, make_job
from tests.statements import hearing
from tests.waiting import wait_until
from web import waiting
from web.jobs import get_job
from web.waiting import Waiter, WaitingRoom

NEVER_S = 3600.0
QUICK_S = 0.05
LONG_S = 60.0
"""What must come comes within it, however busy the machine."""


@pytest.fixture
def notifier(resources: Resources) -> LocalNotifier:
    """What the resources hold."""
    assert isinstance(resources.notifier, LocalNotifier)
    return resources.notifier


@pytest.fixture
def open_room(resources: Resources) -> Callable[..., WaitingRoom]:
    """Rooms with a look as often as is said and limits of one's own; they end with the resources."""

    def make(look_every_s: float = NEVER_S, **limits: int) -> WaitingRoom:
        settings = resources.settings.model_copy(update=limits)
        return WaitingRoom(resources.database, resources.notifier, settings, look_every_s=look_every_s)

    return make


@contextmanager
def counting(database: Database) -> Iterator[list[str]]:
    """The statements that are executed in the block."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    with hearing(database, "before_cursor_execute", note):
        yield seen


def settle(notifier: LocalNotifier, waiter: Waiter) -> None:
    """Until the listener hears, and the waiter has been told what happened before."""
    wait_until(lambda: notifier.heard, "the listener")
    assert waiter.next(LONG_S), "the first look tells what happened so far"


def end(database: Database) -> None:
    """Finish the one job that waits."""
    (held,) = claim(database)
    finish(database, held)


class Bell(threading.Event):
    """Knows whether who waits for it rests: for ever, unless it is rung once more."""

    is_waited_for = False

    def wait(self, timeout: float | None = None) -> bool:
        """Note it, then wait."""
        self.is_waited_for = timeout is None and not self.is_set()
        return super().wait(timeout)


def test_a_hint_wakes_the_waiter(
    resources: Resources, notifier: LocalNotifier, open_room: Callable[..., WaitingRoom]
) -> None:
    """At once, where no look would come for an hour."""
    room, job_id = open_room(), make_job(resources.database)
    with room.waiting("default", job_id) as waiter:
        settle(notifier, waiter)
        end(resources.database)
        assert waiter.next(0.3) == []
        notifier.publish([job_id])
        events = waiter.next(LONG_S)
    assert [(found.event, found.done) for found in events] == [("claimed", False), ("succeeded", True)]


def test_a_lost_hint_costs_a_look(
    resources: Resources, notifier: LocalNotifier, open_room: Callable[..., WaitingRoom]
) -> None:
    """With a dead broker the shared look finds what happened."""
    room, job_id = open_room(QUICK_S), make_job(resources.database)
    notifier.down = True
    with room.waiting("default", job_id) as waiter:
        settle(notifier, waiter)
        end(resources.database)
        assert not notifier.publish([job_id])
        ended = room.wait_until_done(waiter, LONG_S)
    assert ended is not None
    assert ended.status is JobState.SUCCEEDED


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_every_end_wakes(
    resources: Resources, open_room: Callable[..., WaitingRoom], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any hint: what web itself or the sweeper changes is found by the look."""
    monkeypatch.setattr(waiting, "LOOKS_PER_EXPIRY", 10**9)  # the room itself ends none
    room = open_room(QUICK_S)
    job_id = make_job(resources.database, expires_in_s=0.01 if how == "expired" else None)
    with room.waiting("default", job_id) as waiter:
        waiter.next(LONG_S)
        time.sleep(0.02)
        with jobs.changing(resources.database) as changes:
            if how == "cancelled":
                changes.cancel("default", job_id, "key:k")
            else:
                assert changes.expire_due() == [job_id]
        assert [found.event for found in waiter.next(LONG_S)] == [how]


def test_a_film_past_its_time_is_ended_where_no_worker_lives(resources: Resources) -> None:
    """By the room itself, while anybody waits; and by whoever asks for the job."""
    database, notifier = resources.database, resources.notifier
    room = WaitingRoom(database, notifier, resources.settings, look_every_s=QUICK_S)
    job_id = make_job(database, expires_in_s=0.01)
    with room.waiting("default", job_id) as waiter:
        ended = room.wait_until_done(waiter, LONG_S)
    assert ended is not None
    assert ended.status is JobState.EXPIRED


def test_whoever_asks_for_a_film_past_its_time_ends_it(resources: Resources) -> None:
    """Not before it is; and it is told as any other end."""
    who = Principal("testkey", "default", "uploader")
    waits, late = make_job(resources.database, expires_in_s=60), make_job(resources.database, expires_in_s=0.01)
    time.sleep(0.02)
    assert get_job(resources, who, waits).status is JobState.QUEUED
    assert get_job(resources, who, late).status is JobState.EXPIRED
    assert isinstance(resources.notifier, LocalNotifier)
    assert resources.notifier.published == [(late,)]


@pytest.mark.parametrize("fault", [DatabaseDown, StorageFull])
def test_where_nothing_can_be_written_a_late_film_is_told_as_it_was_read(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, fault: type[AppError]
) -> None:
    """Asking for a job stays a read, that a database which only reads, or is full, can answer."""
    job_id = make_job(resources.database, expires_in_s=0.01)
    time.sleep(0.02)

    def refuse(_changes: jobs.JobChanges) -> list[str]:
        raise fault("no changes")

    monkeypatch.setattr(jobs.JobChanges, "expire_due", refuse)
    found = get_job(resources, Principal("testkey", "default", "uploader"), job_id)
    assert found.status is JobState.QUEUED


def test_200_waiters_cost_a_look_a_second(resources: Resources, open_room: Callable[..., WaitingRoom]) -> None:
    """While nothing happens: one statement a look for all of them, not one a client; and one each fifth look."""
    look_every_s = 0.2
    room = open_room(look_every_s)
    made = [make_job(resources.database) for _ in range(200)]
    waiters = [room.join("default", job_id) for job_id in made]
    assert all(waiter.next(LONG_S) for waiter in waiters)
    began = time.monotonic()
    with counting(resources.database) as seen:
        wait_until(lambda: sum("audit_events" in statement for statement in seen) >= 5, "five looks")
    statements = [statement for statement in seen if statement.startswith("SELECT")]
    looks = [statement for statement in statements if "audit_events" in statement]
    assert len(looks) <= (time.monotonic() - began) / look_every_s + 2  # the first may be one that was due before
    assert len(statements) <= len(looks) + 2 * (len(looks) // 5 + 2)  # that which asks for the time as well


def test_a_finished_batch_costs_two_statements(
    resources: Resources, notifier: LocalNotifier, open_room: Callable[..., WaitingRoom]
) -> None:
    """200 requests wait in 200 threads for the films of one batch: one hint, its events, its jobs; all have theirs."""
    room = open_room(NEVER_S)
    made = [make_job(resources.database) for _ in range(8)]
    waiters = [room.join("default", made[place % 8]) for place in range(200)]
    settle(notifier, waiters[0])
    with ThreadPoolExecutor(200) as pool:
        ends = [pool.submit(room.wait_until_done, waiter, LONG_S) for waiter in waiters]
        for held in claim(resources.database):
            finish(resources.database, held)
        with counting(resources.database) as seen:
            notifier.publish(made)
            found = [each.result(LONG_S) for each in ends]
    assert len([statement for statement in seen if statement.startswith("SELECT")]) == 2
    assert [job and job.id for job in found] == [made[place % 8] for place in range(200)]
    assert all(job and job.result and job.model for job in found)


def test_who_waits_in_vain_gets_no_job(resources: Resources, open_room: Callable[..., WaitingRoom]) -> None:
    """The time is over; a job that began meanwhile is not what was waited for."""
    room, job_id = open_room(QUICK_S), make_job(resources.database)
    with room.waiting("default", job_id) as waiter:
        claim(resources.database)
        assert room.wait_until_done(waiter, 4 * QUICK_S) is None


def test_nobody_hears_twice(
    resources: Resources, notifier: LocalNotifier, open_room: Callable[..., WaitingRoom]
) -> None:
    """Each event once, in order, from the one after that which was seen before."""
    room, job_id = open_room(QUICK_S), make_job(resources.database)
    everything, rest = room.join("default", job_id), room.join("default", job_id, after=1)
    settle(notifier, everything)
    end(resources.database)
    notifier.publish([job_id])
    notifier.publish([job_id])
    heard: list[int] = []
    wait_until(lambda: heard.extend(found.seq for found in rest.next(1.0)) or len(heard) >= 2, "both events")
    assert heard == [2, 3]
    assert rest.next(0.2) == []


def test_the_room_is_full_for_a_tenant_and_for_all(resources: Resources, open_room: Callable[..., WaitingRoom]) -> None:
    """429 for a tenant with too many, 503 for everybody; a place that is left is free."""
    make_tenant(resources.database, "clinic")
    room, job_id = open_room(waiter_limit=3, tenant_waiter_limit=2), make_job(resources.database)
    first = room.join("default", job_id)
    room.join("default", job_id)
    with pytest.raises(TenantWaitersFull, match="2 requests"):
        room.join("default", job_id)
    room.join("clinic", job_id)
    with pytest.raises(WaitersFull):
        room.join("clinic", job_id)
    room.leave(first)
    room.leave(first)
    assert room.count() == 2
    room.join("default", job_id)


def test_an_ending_process_lets_go(
    resources: Resources, notifier: LocalNotifier, open_room: Callable[..., WaitingRoom]
) -> None:
    """Whoever waits goes on at the next look, long before its time."""
    room, job_id = open_room(QUICK_S), make_job(resources.database)
    with room.waiting("default", job_id) as waiter:
        settle(notifier, waiter)
        began = time.monotonic()
        threading.Timer(0.1, setattr, (room, "is_ending", True)).start()
        room.wait_until_done(waiter, LONG_S)
    assert time.monotonic() - began < LONG_S / 2


def test_a_database_that_is_away_is_asked_again(resources: Resources, open_room: Callable[..., WaitingRoom]) -> None:
    """The reader outlives it: what happened meanwhile is told once it is back."""
    room, job_id = open_room(QUICK_S), make_job(resources.database)
    broken, refused = threading.Event(), threading.Event()

    def refuse(*_arguments: object) -> None:
        if broken.is_set():
            refused.set()
            raise RuntimeError("the database is away")

    event.listen(resources.database.engine, "before_cursor_execute", refuse)  # connections are kept and used again
    with room.waiting("default", job_id) as waiter:
        waiter.next(LONG_S)
        end(resources.database)
        waiter.next(LONG_S)
        broken.set()
        assert refused.wait(LONG_S)
        time.sleep(4 * QUICK_S)
        broken.clear()
        other = room.join("default", make_job(resources.database))
        assert [found.event for found in other.next(LONG_S)] == ["accepted"]


def test_an_empty_room_asks_nothing(resources: Resources, open_room: Callable[..., WaitingRoom]) -> None:
    """Once the last has left: its reader waits for the next, however long that takes."""
    room, job_id = open_room(QUICK_S), make_job(resources.database)
    room._bell = bell = Bell()
    with room.waiting("default", job_id) as waiter:
        waiter.next(LONG_S)
    wait_until(lambda: bell.is_waited_for, "the reader to rest")
    with counting(resources.database) as seen:
        time.sleep(6 * QUICK_S)
    assert seen == []


def test_a_cancelled_job_is_hinted_at(resources: Resources, notifier: LocalNotifier) -> None:
    """So that those who wait for it in other processes hear at once."""
    from tests.api import Api, make_key  # noqa: PLC0415  its application is of no use to the others

    api = Api(replace(resources), make_key(resources.database))
    job_id = make_job(resources.database)
    api.request("POST", f"/api/v1/jobs/{job_id}/cancel")
    assert notifier.published == [(job_id,)]
