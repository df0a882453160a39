"""Whom each blow hits in a running plainfilm, and how."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Mapping
from random import Random

import uuid_utils
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import select, text

from shared.db.tables import Job, Lock, WorkerHeartbeat
from shared.domain import JobState, Priority
from shared.errors import DatabaseDown
from shared.queueing import KEY_PREFIX, CeleryQueue
from tests.chaos import proc
from tests.chaos.keeper import Part
from tests.chaos.monkey import Freeze, Hit, Strike
from tests.chaos.plan import Blow
from tests.chaos.proc import Process
from tests.chaos.stack import LEASE_S, Stack
from worker.sweep import LOCK

HOLDER_WAIT_S = 1.5
"""So long a worker is looked for that has a film in hand, or the sweeper's turn."""

LONGEST_AWAY_S = 3.0
FREEZE_S = LEASE_S + 3.0


class Targets:
    """The blows on one stack, drawn by `draw` where there is a choice."""

    def __init__(self, stack: Stack, draw: Random) -> None:
        self._stack, self._draw = stack, draw
        self._queue = CeleryQueue(stack.redis_url)
        self._redis = Redis.from_url(stack.redis_url, socket_timeout=1, socket_connect_timeout=1)
        self._frozen: dict[Process, float] = {}

    @property
    def hits(self) -> Mapping[Blow, Hit]:
        """Every blow by its name."""
        return {
            Blow.CHILD: self._child,
            Blow.PARENT: self._parent,
            Blow.SWEEPER: self._sweeper,
            Blow.WEB: self._web,
            Blow.WEB_CHILD: self._web_child,
            Blow.ALL_WORKERS: self._all_workers,
            Blow.BROKER: lambda: self._server(Blow.BROKER, self._stack.broker),
            Blow.POSTMASTER: lambda: self._server(Blow.POSTMASTER, self._stack.postgres),
            Blow.BACKEND: self._backend,
            Blow.FREEZE: self._freeze,
            Blow.FLUSH: self._flush,
            Blow.FORGE_TEXT: self._forge_text,
            Blow.FORGE_JOB: self._forge_job,
        }

    def close(self) -> None:
        """Close its connections."""
        self._queue.close()
        self._redis.close()

    def _all_workers(self) -> Strike | None:
        """Every pool at once, as when their machine loses its power."""
        found = [parent for part in self._stack.workers if (parent := part.found())]
        died = [parent.pid for parent in found if proc.kill(parent) is not None]
        return Strike(Blow.ALL_WORKERS, time.time(), died[0], note=f"parents {died}") if died else None

    def _child(self) -> Strike | None:
        victim = self._busy_child()
        return None if victim is None else _killed(Blow.CHILD, victim, worker_name(victim))

    def _parent(self) -> Strike | None:
        """The pool's parent of a child with a film in hand; the kernel takes the child along."""
        child = self._busy_child()
        part = next((part for part in self._stack.workers if child in part.children()), None)
        parent = part.found() if part else None
        if child is None or parent is None or proc.kill(parent) is None:
            return None
        died = proc.confirm_death(child)
        note = "" if died else f"its child {child.pid} lived on"
        return Strike(Blow.PARENT, died or time.time(), parent.pid, worker_name(child), note)

    def _sweeper(self) -> Strike | None:
        """Who has the sweeper's turn, or had it last; any child where nobody had."""
        give_up_at, last = time.monotonic() + HOLDER_WAIT_S, None
        while time.monotonic() < give_up_at:
            owner, is_current = self._turn()
            last = next((child for child in self._children() if worker_name(child) == owner), last)
            if last is not None and is_current:
                return _killed(Blow.SWEEPER, last, worker_name(last))
            time.sleep(0.05)
        return self._child() if last is None else _killed(Blow.SWEEPER, last, worker_name(last), "its turn was over")

    def _web(self) -> Strike | None:
        """A web process, or the gunicorn that watches several, with all that it started."""
        found = [web for part in self._stack.webs if (web := part.found()) and part.children()]
        return _killed(Blow.WEB, self._draw.choice(found)) if found else None

    def _web_child(self) -> Strike | None:
        """A single web process's decoder, or one of gunicorn's web processes."""
        found = [child for part in self._stack.webs for child in part.children()]
        return _killed(Blow.WEB_CHILD, self._draw.choice(found)) if found else None

    def _server(self, blow: Blow, part: Part | None) -> Strike | None:
        """Kill it, and keep it away for a while."""
        victim = part.found() if part else None
        if victim is None or part is None:
            return None
        away_s = self._draw.uniform(0, LONGEST_AWAY_S)
        part.held_until = time.monotonic() + away_s
        return _killed(blow, victim, note=f"away for {away_s:.1f} s")

    def _backend(self) -> Strike | None:
        """A backend of somebody else's connection; its postmaster then restarts all of them."""
        statement = text("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> :mine")
        try:
            with self._stack.database.read() as session:
                mine = session.scalar(text("SELECT pg_backend_pid()"))
                found = [proc.find(pid) for pid in session.scalars(statement, {"mine": mine})]
        except DatabaseDown:
            return None
        alive = [process for process in found if process is not None]
        return _killed(Blow.BACKEND, self._draw.choice(alive)) if alive else None

    def _freeze(self) -> Freeze | None:
        victim = self._busy_child()
        if victim is None or not proc.send(victim, signal.SIGSTOP):
            return None
        self._frozen[victim] = time.monotonic() + FREEZE_S
        return Freeze(victim, worker_name(victim), self._frozen[victim])

    def _flush(self) -> Strike | None:
        try:
            self._redis.flushall()
        except RedisError:
            return None
        return Strike(Blow.FLUSH, time.time())

    def _forge_text(self) -> Strike | None:
        """An item that is no message."""
        queue = KEY_PREFIX + self._draw.choice(list(Priority)).value
        try:
            self._redis.rpush(queue, b"\xff not a message")  # to the end that workers take from
        except RedisError:
            return None
        return Strike(Blow.FORGE_TEXT, time.time(), note=queue)

    def _forge_job(self) -> Strike | None:
        """A message in good form, for a film that nobody sent."""
        if not self._queue.is_up():
            return None
        job = str(uuid_utils.uuid7())
        is_sent = self._queue.classify(job, self._draw.choice(list(Priority)))
        return Strike(Blow.FORGE_JOB, time.time(), note=job) if is_sent else None

    def _children(self) -> list[Process]:
        """Pool children that can work, so that one of them can be struck while another lives; else none."""
        now, ready = time.monotonic(), self._ready()
        found = [child for part in self._stack.workers for child in part.children()]
        awake = [child for child in found if self._frozen.get(child, 0.0) < now and worker_name(child) in ready]
        return awake if len(awake) > 1 else []

    def _busy_child(self) -> Process | None:
        """One with a film in hand where one is found in time, else any."""
        give_up_at, awake = time.monotonic() + HOLDER_WAIT_S, self._children()
        while awake and time.monotonic() < give_up_at:
            holders = self._holders()
            busy = [child for child in awake if worker_name(child) in holders]
            if busy:
                return self._draw.choice(busy)
            time.sleep(0.02)
            awake = self._children()
        return self._draw.choice(awake) if awake else None

    def _ready(self) -> set[str]:
        """Workers that have loaded their model."""
        try:
            with self._stack.database.read() as session:
                return set(session.scalars(select(WorkerHeartbeat.worker)))
        except DatabaseDown:
            return set()

    def _holders(self) -> set[str | None]:
        try:
            with self._stack.database.read() as session:
                return set(session.scalars(select(Job.lease_owner).where(Job.state == JobState.RUNNING)))
        except DatabaseDown:
            return set()

    def _turn(self) -> tuple[str | None, bool]:
        """Who had the sweeper's turn last, and whether it still runs."""
        try:
            with self._stack.database.read() as session:
                lock = session.get(Lock, LOCK)
                return (None, False) if lock is None else (lock.owner, lock.until > self._stack.database.now(session))
        except DatabaseDown:
            return None, False


def host_prefix() -> str:
    """How the name of every worker of this machine begins."""
    return f"{socket.gethostname()[:64]}:"


def worker_name(child: Process) -> str:
    """As `worker.boot.worker_name` says inside the child."""
    return host_prefix() + str(child.pid)


def _killed(blow: Blow, victim: Process, worker: str | None = None, note: str = "") -> Strike | None:
    died = proc.kill(victim)
    return None if died is None else Strike(blow, died, victim.pid, worker, note)
