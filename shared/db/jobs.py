"""All changes of a job's state, each with its audit event in the same transaction. Nothing else may change a state.

`with changing(database) as jobs:` is one short transaction at one database time. Its events are chained when the
block ends, so that the chain's head, which orders all writers, is the last row locked; jobs are locked in the order of
their ids, or skipped where another transaction locks them, so that no two writers deadlock. Writes are fenced: a
running job is changed only by the attempt that owns it. Reading is in `queries`, deletion in `deletions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, insert, select, tuple_, update

from shared.db import batches, claim_order
from shared.db.claim_order import Claimant
from shared.db.engine import Database
from shared.db.leases import NO_LEASE, POISONED, AttemptRecord, Claim, LeasedChanges, most_attempts
from shared.db.queries import missing
from shared.db.tables import Job, Result, Tenant, has_state_unindexed, table_of
from shared.domain import TRANSITIONS, FilmFacts, JobState, Priority
from shared.errors import IllegalTransition, JobNotFound

CANCEL_STEP = 200
"""Films of a batch cancelled in one transaction."""

POISONED_DETAIL = "Every attempt on this film ended without an answer; it will not be tried again."


@dataclass(frozen=True, slots=True)
class NewJob:
    """A stored film that is to be accepted as a job.

    Attributes:
        expires_in_s: after this time the job expires unless an attempt has started.
        role: the role of the owner's key at that time; recorded in the audit event only.
    """

    id: str
    tenant: str
    owner: str
    idempotency_key: str | None
    facts: FilmFacts
    blob_ref: str
    priority: Priority
    max_attempts: int
    request_id: str
    expires_in_s: float | None = None
    batch_id: str | None = None
    role: str | None = None


@contextmanager
def changing(database: Database) -> Iterator[JobChanges]:
    """One writing transaction on jobs; commits, with its audit events, when the block ends."""
    with database.begin_core() as sql:
        changes = JobChanges(sql, database.now(sql))
        yield changes
        changes.chain_events()


def change_together(database: Database, write: Callable[[JobChanges], None]) -> None:
    """Do `write` in a block of `changing`, which it shares with the writes that wait at the same time.

    `write` may then be called twice, and in another thread; errors as of `GroupCommit.run`.
    """
    database.group.run(write, lambda: changing(database))


class JobChanges(LeasedChanges[Connection]):
    """The state machine of jobs over one open transaction; `JobState` draws it."""

    table = Job
    job_id = table_of(Job).c.id

    def insert_queued(self, new: NewJob) -> None:
        """Accept a film: insert the row and record 'accepted'. The caller has stored the film durably."""
        self._insert(new, state=JobState.QUEUED)

    def insert_answered(self, new: NewJob, from_job: str) -> None:
        """Accept a film as succeeded, with a copy of a stored result: no queue, no attempt.

        Raises:
            JobNotFound: `from_job` is no job of this tenant with a result; nothing was written.
        """
        is_source = (Job.id == from_job) & (Job.tenant == new.tenant) & (Job.state == JobState.SUCCEEDED)
        columns = [column for column in Result.__table__.columns if column.name not in _OF_ITS_JOB]
        row = self.sql.execute(select(*columns).join(Job, Job.id == Result.job_id).where(is_source)).first()
        if row is None:
            raise JobNotFound("There is no job with a result to answer from.")
        copied = dict(row._mapping)  # noqa: SLF001  SQLAlchemy's public name for it
        self._insert(new, state=JobState.SUCCEEDED, finished_at=self.now)
        own = {"job_id": new.id, "attempt": 0, "created_at": self.now}
        self.sql.execute(insert(table_of(Result)), [{**copied, **own}])
        self.record(new.tenant, "system", "succeeded", new.id, attempt=0, from_job=from_job,
                     **{name: copied[name] for name in _RECORDED_OF_A_COPY})  # fmt: skip

    def insert_again(self, new: NewJob, of: str) -> None:
        """Accept the film of another job again, for a worker to answer; the new job has its own copy of the file.

        Raises:
            JobNotFound: `of` is no job of this tenant, or was deleted (`JobDeleted`); nothing was written.
        """
        if self.sql.scalar(select(Job.id).where(Job.id == of, Job.tenant == new.tenant)) is None:
            raise missing(self.sql, new.tenant, of)
        self._insert(new, of, state=JobState.QUEUED)

    def _insert(self, new: NewJob, again_of: str | None = None, **columns: object) -> None:
        facts = new.facts
        values = {
            "id": new.id, "tenant": new.tenant, "owner": new.owner, "idempotency_key": new.idempotency_key,
            "input_sha256": facts.input_sha256, "pixels_sha256": facts.pixels_sha256, "kind": facts.kind,
            "mode": facts.mode, "bit_depth": facts.bit_depth, "width_px": facts.width_px,
            "height_px": facts.height_px, "blob_ref": new.blob_ref,
            "priority": new.priority.rank, "attempt": 0, "max_attempts": new.max_attempts,
            "not_before": self.now, "expires_at": self._in(new.expires_in_s), "last_rung_at": self.now,
            "created_at": self.now, "request_id": new.request_id,
            "batch_id": new.batch_id,
        }  # fmt: skip
        self.sql.execute(insert(table_of(Job)), [{**values, **columns}])
        optional = {"batch_id": new.batch_id, "again_of": again_of, "role": new.role}
        present = {name: value for name, value in optional.items() if value is not None}
        self.record(new.tenant, f"key:{new.owner}", "accepted", new.id, **present,
                     input_sha256=facts.input_sha256, pixels_sha256=facts.pixels_sha256,
                     priority=new.priority.value, request_id=new.request_id)  # fmt: skip

    def claim(self, who: Claimant, *, aged_first: bool = False) -> list[Claim]:
        """Lease one batch of films in the order of `claim_order`.

        Args:
            aged_first: begin with films that have waited too long at a lower priority.

        Returns:
            Up to `who.limit` claims; none where no film is due.
        """
        films = claim_order.pick(self.sql, who, self.now, aged_first=aged_first)
        if not films:
            return []
        until = self.now + timedelta(seconds=who.lease_s)
        claimed = {"films": [film.id for film in films], "worker": who.worker, "until": until, "now": self.now}
        rows = self.sql.execute(_CLAIM, claimed).all()
        self._note_served({film.tenant for film in films})
        claims = [Claim(*row) for row in sorted(rows)]
        for held in claims:
            self.record(held.tenant, f"worker:{who.worker}", "claimed", held.id, attempt=held.attempt)
        return claims

    def lock(self, job_ids: Sequence[str]) -> None:
        """Lock these jobs by their ids' order; called first by a transaction that changes them in another order."""
        self.sql.execute(select(Job.id).where(Job.id.in_(job_ids)).order_by(Job.id).with_for_update()).all()

    def finish(self, worker: str, records: Sequence[tuple[Claim, AttemptRecord]]) -> list[Claim]:
        """Running to succeeded, each with its result: as many statements for a batch as for one film.

        Returns:
            The claims that are lost, since another attempt owns the job or it was cancelled; nothing was written for
            these.
        """
        if not records:
            return []
        fences = [(held.id, held.attempt) for held, _ in records]
        owned = set(self.sql.scalars(_FINISH, {"fences": fences, "now": self.now}))
        kept = [(held, record) for held, record in records if held.id in owned]
        fixed = {"worker": worker, "created_at": self.now}
        rows = [
            {"job_id": held.id, "tenant": held.tenant, "attempt": held.attempt, **fixed, **record.columns}
            for held, record in kept
        ]
        if rows:
            self.sql.execute(insert(table_of(Result)), rows)
        for held, record in kept:
            self.record(held.tenant, f"worker:{worker}", "succeeded", held.id,
                         attempt=held.attempt, **record.audit_facts)  # fmt: skip
        return [held for held, _ in records if held.id not in owned]

    def fail(self, held: Claim, actor: str, code: str, detail: str) -> None:
        """Running to failed, for good.

        Raises:
            LeaseLost: another attempt owns the job, or it was cancelled.
        """
        self.leave_running(held, state=JobState.FAILED, finished_at=self.now, error_code=code, error_detail=detail)
        self.record(held.tenant, actor, "failed", held.id, attempt=held.attempt, error_code=code)

    def retry(self, held: Claim, actor: str, code: str, delay_s: float, *, is_ours: bool = False) -> JobState:
        """After a transient error: back to the queue in `delay_s`, or failed where the attempts are used up.

        Args:
            is_ours: the fault is of the service, not of the film: see `leases.most_attempts`.

        Raises:
            LeaseLost: another attempt owns the job, or it was cancelled.
        """
        most = most_attempts(held, is_ours=is_ours)
        if held.attempt >= most:
            self.fail(held, actor, POISONED, POISONED_DETAIL)
            return JobState.FAILED
        due = self.now + timedelta(seconds=delay_s)
        self.leave_running(held, state=JobState.QUEUED, not_before=due, max_attempts=most)
        self.record(held.tenant, actor, "requeued", held.id, attempt=held.attempt, error_code=code)
        return JobState.QUEUED

    def requeue_expired(self, limit: int = 100) -> list[tuple[str, JobState]]:
        """Requeue films whose worker died: running with an expired lease to queued, or to failed.

        Returns:
            (job id, new state) of each job changed.
        """
        rows = self.sql.execute(
            select(Job.id, Job.tenant, Job.attempt, Job.max_attempts, Job.blob_ref, Job.request_id)
            .where(*self.lapsed())
            .order_by(Job.lease_until)
            .limit(limit)
            .with_for_update(skip_locked=True)
        ).all()
        return [(row.id, self.retry(Claim(*row), "sweeper", "lease_expired", 0.0)) for row in rows]

    def expire_due(self, limit: int = 500) -> list[str]:
        """Queued to expired where `expires_at` has passed; returns the job ids."""
        due = (
            select(Job.id)
            .where(Job.state == JobState.QUEUED, Job.expires_at <= self.now)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        rows = self.sql.execute(
            update(Job)
            .where(Job.id.in_(select(due.c.id)), has_state_unindexed(JobState.QUEUED))
            .values(state=JobState.EXPIRED, finished_at=self.now)
            .returning(Job.id, Job.tenant)
        ).all()
        for row in rows:
            self.record(row.tenant, "sweeper", "expired", row.id)
        return [row.id for row in rows]

    def cancel(self, tenant: str, job_id: str, actor: str) -> JobState:
        """Queued or running to cancelled; a job already cancelled stays so.

        Raises:
            JobNotFound: not a job of this tenant.
            IllegalTransition: it ended otherwise.
        """
        is_job = (Job.id == job_id) & (Job.tenant == tenant)
        stored_state = self.sql.scalar(select(Job.state).where(is_job).with_for_update())
        if stored_state is None:
            raise missing(self.sql, tenant, job_id)
        state = JobState(stored_state)
        if state is JobState.CANCELLED:
            return state
        if JobState.CANCELLED not in TRANSITIONS[state]:
            raise IllegalTransition(f"The job has already ended: it is {state.value}.")
        self.change(is_job, state=JobState.CANCELLED, finished_at=self.now, **NO_LEASE)
        self.record(tenant, actor, "cancelled", job_id)
        return JobState.CANCELLED

    def cancel_batch(self, tenant: str, batch_id: str, actor: str, after: str = "") -> list[str]:
        """Queued or running to cancelled: the first `CANCEL_STEP` films of a batch whose ids come after `after`.

        Returns:
            The ids of the cancelled films in order; fewer than `CANCEL_STEP` means that no later one is left.
        """
        rest = (
            select(Job.id)
            .where(Job.tenant == tenant, Job.batch_id == batch_id, Job.id > after, batches.in_state(*_OPEN))
            .order_by(Job.id)
            .limit(CANCEL_STEP)
            .with_for_update()
            .cte("rest")
        )
        cancelled = sorted(
            self.sql.scalars(
                update(Job)
                .where(Job.id.in_(select(rest.c.id)), Job.state.in_(_OPEN))
                .values(state=JobState.CANCELLED, finished_at=self.now, **NO_LEASE)
                .returning(Job.id)
            )
        )
        for job_id in cancelled:
            self.record(tenant, actor, "cancelled", job_id)
        return cancelled

    def mark_rung(
        self, silent_s: float, limit: int, heard: Sequence[Priority] = tuple(Priority)
    ) -> list[tuple[str, Priority]]:
        """Mark due films of the priorities `heard` that had no ring for `silent_s` as rung.

        Returns:
            (job id, priority) of at most `limit` films, the longest unrung first.
        """
        silent = self.silent(silent_s, limit, Job.priority.in_([priority.rank for priority in heard]))
        rows = self.sql.execute(
            update(Job)
            .where(Job.id.in_(select(silent.c.id)), has_state_unindexed(JobState.QUEUED))
            .values(last_rung_at=self.now)
            .returning(Job.id, Job.priority)
        )
        return [(row.id, Priority.of_rank(row.priority)) for row in rows]

    def _in(self, seconds: float | None) -> datetime | None:
        return None if seconds is None else self.now + timedelta(seconds=seconds)

    def _note_served(self, tenants: set[str]) -> None:
        """Set `served_at` of these tenants. One by one in order, so that two claims cannot deadlock."""
        for tenant in sorted(tenants):
            self.sql.execute(_SERVE, {"served": tenant, "now": self.now})


_OF_ITS_JOB = ("job_id", "attempt", "created_at")
"""Columns of a result that a copy does not share; device, worker and code version stay those of the answer."""

_RECORDED_OF_A_COPY = (
    "model_sha256", "verdict", "probabilities", "other_probability", "prediction_set", "reasons", "saliency_sha256",
)  # fmt: skip

_OPEN = tuple(state for state in JobState if JobState.CANCELLED in TRANSITIONS[state])
"""The states in which a job may be cancelled."""


# Statements with bound parameters, built once: see `claim_order`.

_CLAIM = (
    update(Job)
    .where(Job.id.in_(bindparam("films", expanding=True)), has_state_unindexed(JobState.QUEUED))
    .values(
        state=JobState.RUNNING,
        attempt=Job.attempt + 1,
        lease_owner=bindparam("worker"),
        lease_until=bindparam("until"),
        started_at=bindparam("now"),
        last_rung_at=bindparam("now"),
    )
    .returning(Job.id, Job.tenant, Job.attempt, Job.max_attempts, Job.blob_ref, Job.request_id)
)

_OURS = (
    select(Job.id)
    .where(tuple_(Job.id, Job.attempt).in_(bindparam("fences", expanding=True)), Job.state == JobState.RUNNING)
    .order_by(Job.id)
    .with_for_update()
    .cte("ours")
)
"""Locked in the order in which `renew` locks them, so that the two cannot deadlock."""

_FINISH = (
    update(Job)
    .where(Job.id.in_(select(_OURS.c.id)), Job.state == JobState.RUNNING)
    .values(state=JobState.SUCCEEDED, finished_at=bindparam("now"), **NO_LEASE)
    .returning(Job.id)
)

_SERVE = update(Tenant).where(Tenant.id == bindparam("served")).values(served_at=bindparam("now"))
