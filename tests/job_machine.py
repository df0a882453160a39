"""The job repository without SQL: a model of films, what a claim may take, and what the tables must then hold."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise, product
from pathlib import Path

from sqlalchemy import Row, event, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection

from shared.db.audit import GENESIS
from shared.db.claim_order import Claimant
from shared.db.engine import Database
from shared.db.leases import Claim
from shared.db.tables import AuditEvent, AuditHead, Job, Result, Tenant
from shared.domain import DEFAULT_TENANT, TRANSITIONS, JobState, Priority
from tests.jobs import register_model

TENANTS = (DEFAULT_TENANT, "second")
STATE_AFTER = {
    "accepted": JobState.QUEUED, "requeued": JobState.QUEUED, "claimed": JobState.RUNNING,
    **{state.value: state for state in JobState if state.is_terminal},
}  # fmt: skip
"""Where an audit event leaves a job; the events of terminal states have their names."""

AGED_AFTER = timedelta(minutes=10)
"""A film that has waited so long may go before more urgent ones, so its place in line is not checked."""

EMPTY = (
    "ALTER TABLE audit_events DISABLE TRIGGER USER",
    "DELETE FROM audit_events",
    "ALTER TABLE audit_events ENABLE TRIGGER USER",
    "DELETE FROM results",
    "DELETE FROM jobs",
    f"UPDATE audit_heads SET seq = 0, hash = '{GENESIS}'",  # noqa: S608 - a constant of ours
    "UPDATE tenants SET served_at = NULL",
)
"""5 ms on PostgreSQL; TRUNCATE takes 20 ms, a copy of the database 70 ms and its end 200 ms."""


@dataclass(slots=True, repr=False)
class Film:
    """What the model knows of one job; `trail` is its audit events by name."""

    id: str
    tenant: str
    key: str | None
    priority: Priority
    max_attempts: int
    created_at: datetime
    expires_at: datetime | None
    not_before: datetime
    rung_at: datetime
    state: JobState = JobState.QUEUED
    attempt: int = 0
    lease_until: datetime | None = None
    trail: list[str] = field(default_factory=lambda: ["accepted"])

    def __repr__(self) -> str:
        return f"{self.id} ({self.tenant}, {self.priority}, {self.state}, attempt {self.attempt})"

    @property
    def is_suspect(self) -> bool:
        """An attempt on it ended without an answer."""
        return self.attempt > 0

    @property
    def place(self) -> tuple[datetime, str]:
        """First come, first served, among the films of one tenant and class."""
        return self.not_before, self.id

    def is_due(self, now: datetime) -> bool:
        """It may be claimed."""
        in_time = self.expires_at is None or self.expires_at > now
        return self.state is JobState.QUEUED and self.not_before <= now and in_time

    def is_past(self, now: datetime) -> bool:
        """It waits although its time is over."""
        return self.state is JobState.QUEUED and self.expires_at is not None and self.expires_at <= now

    def is_silent(self, now: datetime, silent_s: float) -> bool:
        """It is due as far as time allows, and nobody rang for it."""
        is_unrung = self.rung_at < now - timedelta(seconds=silent_s)
        return self.state is JobState.QUEUED and self.not_before <= now and is_unrung

    def is_held_by(self, held: Claim) -> bool:
        """The claim is the one that owns it."""
        return self.state is JobState.RUNNING and self.attempt == held.attempt

    def start(self, now: datetime, lease_until: datetime) -> None:
        """Claimed; a film that comes back to the queue was rung for then."""
        self.state, self.lease_until, self.rung_at = JobState.RUNNING, lease_until, now
        self.attempt += 1
        self.trail.append("claimed")

    def end(self, state: JobState) -> None:
        """Into a terminal state; its event has the same name."""
        self.state, self.lease_until = state, None
        self.trail.append(state.value)

    def give_back(self, not_before: datetime, *, is_ours: bool = False) -> JobState:
        """Back to the queue, or failed where its attempts are used up; a fault of the service's own costs none."""
        self.max_attempts += is_ours
        if self.attempt == self.max_attempts:
            self.end(JobState.FAILED)
        else:
            self.state, self.lease_until, self.not_before = JobState.QUEUED, None, not_before
            self.trail.append("requeued")
        return self.state


def check_claim(films: Mapping[str, Film], who: Claimant, claims: Sequence[Claim], now: datetime) -> None:
    """Only due films, each once, as many as there may be, none out of turn; `films` is as before the claim."""
    due = {film.id: film for film in films.values() if film.priority in who.priorities and film.is_due(now)}
    undue = [films[held.id] for held in claims if held.id not in due]
    assert not undue, f"claimed though not due: {undue}"
    taken = {held.id: due[held.id] for held in claims}
    assert len(taken) == len(claims), f"claimed twice at once: {claims}"
    for held in claims:
        film = taken[held.id]
        assert (held.tenant, held.attempt, held.max_attempts) == (film.tenant, film.attempt + 1, film.max_attempts)
    left = [film for film in due.values() if film.id not in taken]
    check_size(list(taken.values()), left, who.limit)
    check_order(list(taken.values()), left, now)


def check_size(taken: Sequence[Film], left: Sequence[Film], limit: int) -> None:
    """A suspect comes alone, others in batches as large as they can be; nothing is taken only where nothing is due."""
    assert taken or not left, f"due and not claimed: {left}"
    if any(film.is_suspect for film in taken):
        assert len(taken) == 1, f"a suspect in company: {taken}"
    else:
        fresh = len(taken) + sum(not film.is_suspect for film in left)
        assert len(taken) == min(limit, fresh), f"{taken} of {limit} taken, left: {left}"


def check_order(taken: Sequence[Film], left: Sequence[Film], now: datetime) -> None:
    """The more urgent class first, and in it each tenant's films as they came.

    A suspect may be passed over, though not by a batch that begins with a less urgent film. Where an aged film was
    taken, others may have come before their class.
    """
    begin = min((film.priority.rank for film in taken), default=0)
    has_aged = any(now - film.created_at > AGED_AFTER for film in taken)
    for film, other in product(taken, left):
        least = begin if other.is_suspect else film.priority.rank
        assert has_aged or other.priority.rank >= least, f"{film} was taken, more urgent was {other}"
        is_peer = (other.tenant, other.priority, other.attempt) == (film.tenant, film.priority, 0)
        assert not is_peer or film.place < other.place, f"{film} was taken, before it came {other}"


def check_rung(
    films: Mapping[str, Film], rung: Sequence[tuple[str, Priority]], now: datetime, silent_s: float, limit: int
) -> None:
    """Due films that nobody rang for, each with its class; where they are too many, the longest silent."""
    silent = {film.id: film for film in films.values() if film.is_silent(now, silent_s)}
    assert set(rung) <= {(film.id, film.priority) for film in silent.values()}
    assert len(dict(rung)) == len(rung) == min(limit, len(silent))
    chosen = [silent.pop(job_id).rung_at for job_id, _ in rung]
    assert all(film.rung_at >= max(chosen) for film in silent.values())


@dataclass(frozen=True, slots=True)
class Seen:
    """What the tables hold, in one snapshot."""

    jobs: Sequence[Row[str, str, int, int, datetime | None, datetime, datetime | None]]
    results: list[tuple[str, int]]
    trails: Mapping[str, list[str]]


def look(database: Database) -> Seen:
    """Read jobs, results and the audit trail of each job."""
    trails: dict[str, list[str]] = defaultdict(list)
    with database.read() as session:
        columns = (Job.id, Job.state, Job.attempt, Job.max_attempts, Job.lease_until, Job.not_before, Job.finished_at)
        jobs = session.execute(select(*columns).order_by(Job.id)).all()
        results = [(row.job_id, row.attempt) for row in session.execute(select(Result.job_id, Result.attempt))]
        events = select(AuditEvent.subject, AuditEvent.action).order_by(AuditEvent.stream, AuditEvent.seq)
        for subject, action in session.execute(events):
            trails[subject].append(action)
    return Seen(jobs, results, trails)


def check_rows(seen: Seen) -> None:
    """What holds of every row, whatever happened: attempts bounded, a lease while it runs, an end once it ended."""
    for job in seen.jobs:
        state = JobState(job.state)
        assert 0 <= job.attempt <= job.max_attempts, job
        assert (state is JobState.RUNNING) == (job.lease_until is not None), job
        assert state.is_terminal == (job.finished_at is not None), job
        counted = Counter(seen.trails[job.id])
        ends = sum(counted[end] for end in JobState if end.is_terminal)
        assert (counted["accepted"], ends) == (1, int(state.is_terminal)), (job, counted)


def check_trails(seen: Seen) -> None:
    """Each audit trail is a way through the state graph that ends where the row is."""
    for job in seen.jobs:
        states = [STATE_AFTER[action] for action in seen.trails[job.id]]
        assert states[0] is JobState.QUEUED, states
        assert states[-1] == job.state, (job, states)
        assert all(after in TRANSITIONS[before] for before, after in pairwise(states)), states


def check_results(seen: Seen) -> None:
    """One result of each job that succeeded, by its last attempt, and no other."""
    succeeded = [(job.id, job.attempt) for job in seen.jobs if job.state == JobState.SUCCEEDED]
    assert sorted(seen.results) == succeeded


def check_model(seen: Seen, films: Mapping[str, Film]) -> None:
    """The tables are where the model is."""
    found = {job.id: (job.state, job.attempt, job.lease_until, job.not_before) for job in seen.jobs}
    assert found == {film.id: (film.state, film.attempt, film.lease_until, film.not_before) for film in films.values()}
    assert seen.trails == {film.id: film.trail for film in films.values()}


def make_resettable(database: Database) -> Callable[[], None]:
    """Give it a second tenant and a model.

    Returns:
        What takes the database back to this moment.
    """
    register_model(database)
    with database.begin() as session:
        session.add(Tenant(id=TENANTS[1], created_at=database.now(session)))
        session.add(AuditHead(stream=TENANTS[1], seq=0, hash=GENESIS))
    database.close()
    event.listen(database.engine, "connect", _hurry)
    if not database.is_sqlite:
        return partial(_empty, database)
    path = Path(str(database.engine.url.database))
    return partial(_put_back, database, shutil.copy(path, path.with_suffix(".kept")), path)


def _put_back(database: Database, kept: Path, path: Path) -> None:
    """The file as it was; no connection may be open to it meanwhile."""
    database.close()
    shutil.copy(kept, path)


def _hurry(connection: DBAPIConnection, _record: object) -> None:
    """No wait for the disk: nothing is killed here."""
    is_sqlite = isinstance(connection, sqlite3.Connection)
    connection.cursor().execute("PRAGMA synchronous=OFF" if is_sqlite else "SET synchronous_commit = off")
    connection.commit()


def _empty(database: Database) -> None:
    with database.begin() as session:
        for statement in EMPTY:
            session.execute(text(statement))
