"""All changes of a requested explanation's state, each with its audit event in the same transaction, as of jobs.

`with changing(database) as changes:` is one short transaction at one database time; its events are chained when the
block ends. An event's subject is the job, so that the trail of a film holds the requests for its explanations. Writes
are fenced by the attempt. Reading is in `explanation_queries`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Select, insert, select, update
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.explanation_queries import is_due
from shared.db.leases import POISONED, AttemptRecord, Claim, LeasedChanges, most_attempts
from shared.db.tables import Explanation, Job, Result, table_of
from shared.domain import ExplanationMethod, ExplanationState

POISONED_DETAIL = "Every attempt at this explanation ended without a heatmap; ask again to try again."


@dataclass(frozen=True, slots=True)
class NewExplanation:
    """A request for an explanation: of which result, by which method, with which seed."""

    id: str
    tenant: str
    owner: str
    job_id: str
    method: ExplanationMethod
    label: str
    seed: int
    model_sha256: str
    max_attempts: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Order:
    """An explanation that this worker holds, with all fields needed to make it.

    Attributes:
        held: id, attempt (the token that writes are fenced by) and where the film is stored.
        preprocessing: the one by which the film was classified.
        verdict_map: the raw map that came with the verdict, where its method is the one requested: it is measured, not
            computed again.
    """

    held: Claim
    job_id: str
    method: ExplanationMethod
    label: str
    seed: int
    model_sha256: str
    preprocessing: str
    verdict_map: bytes | None


@contextmanager
def changing(database: Database) -> Iterator[ExplanationChanges]:
    """Open a writing transaction on explanations; commits, with its audit events, when the block ends."""
    with database.begin() as session:
        changes = ExplanationChanges(session, database.now(session))
        yield changes
        changes.chain_events()


class ExplanationChanges(LeasedChanges[Session]):
    """The state machine of explanations over one open transaction; `ExplanationState` draws it."""

    table = Explanation
    job_id = table_of(Explanation).c.job_id

    def insert_queued(self, new: NewExplanation) -> None:
        """Insert the row of a request, and record its event.

        Raises:
            sqlalchemy.exc.IntegrityError: the job has an explanation by that method already.
        """
        values = {
            "id": new.id, "tenant": new.tenant, "owner": new.owner, "job_id": new.job_id, "method": new.method.value,
            "label": new.label, "seed": new.seed, "model_sha256": new.model_sha256,
            "state": ExplanationState.QUEUED, "attempt": 0, "max_attempts": new.max_attempts,
            "not_before": self.now, "last_rung_at": self.now, "created_at": self.now, "request_id": new.request_id,
        }  # fmt: skip
        self.sql.execute(insert(Explanation), [values])
        self.record(new.tenant, f"key:{new.owner}", "explanation_requested", new.job_id, explanation=new.id,
                    method=new.method.value, label=new.label, seed=new.seed, model_sha256=new.model_sha256,
                    request_id=new.request_id)  # fmt: skip

    def ask_again(self, explanation_id: str, owner: str, more_attempts: int, request_id: str) -> bool:
        """Failed to queued, with `more_attempts` more; returns False where the state was not failed."""
        failed = (Explanation.id == explanation_id) & (Explanation.state == ExplanationState.FAILED)
        row = self.sql.execute(
            update(Explanation)
            .where(failed)
            .values(
                state=ExplanationState.QUEUED,
                max_attempts=Explanation.attempt + more_attempts,
                not_before=self.now,
                last_rung_at=self.now,
                finished_at=None,
                error_code=None,
                error_detail=None,
            )
            .returning(Explanation.tenant, Explanation.job_id, Explanation.method)
        ).first()
        if row is None:
            return False
        self.record(row.tenant, f"key:{owner}", "explanation_requested", row.job_id, explanation=explanation_id,
                    method=row.method, request_id=request_id)  # fmt: skip
        return True

    def claim(self, worker: str, model_sha256: str, lease_s: float) -> Order | None:
        """Lease the explanation that has waited longest for a worker with this model; None where none is due."""
        picked = (
            select(Explanation.id)
            .where(is_due(self.now, model_sha256))
            .order_by(Explanation.not_before, Explanation.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .cte("picked")
        )
        taken = self.sql.scalar(
            update(Explanation)
            .where(Explanation.id.in_(select(picked.c.id)), Explanation.state == ExplanationState.QUEUED)
            .values(
                state=ExplanationState.RUNNING,
                attempt=Explanation.attempt + 1,
                lease_owner=worker,
                lease_until=self.now + timedelta(seconds=lease_s),
                started_at=self.now,
            )
            .returning(Explanation.id)
        )
        if taken is None:
            return None
        order = self._read_order(taken)
        self.record(order.held.tenant, f"worker:{worker}", "explanation_claimed", order.job_id,
                    explanation=taken, attempt=order.held.attempt)  # fmt: skip
        return order

    def finish(self, held: Claim, worker: str, record: AttemptRecord) -> None:
        """Running to succeeded, with the map.

        Raises:
            LeaseLost: another attempt owns the explanation; nothing was written.
        """
        end = {"state": ExplanationState.SUCCEEDED, "finished_at": self.now, "worker": worker}
        job_id = self.leave_running(held, **end, **record.columns)
        self.record(held.tenant, f"worker:{worker}", "explained", job_id, explanation=held.id,
                    attempt=held.attempt, **record.audit_facts)  # fmt: skip

    def fail(self, held: Claim, actor: str, code: str, detail: str) -> None:
        """Running to failed, until it is requested again.

        Raises:
            LeaseLost: another attempt owns the explanation.
        """
        why = {"error_code": code, "error_detail": detail}
        job_id = self.leave_running(held, state=ExplanationState.FAILED, finished_at=self.now, **why)
        self.record(held.tenant, actor, "explanation_failed", job_id, explanation=held.id,
                    attempt=held.attempt, error_code=code)  # fmt: skip

    def retry(self, held: Claim, actor: str, code: str, delay_s: float, *, is_ours: bool = False) -> ExplanationState:
        """After a transient error: back to the queue in `delay_s`, or failed where the attempts are used up.

        Args:
            is_ours: the fault is of the service, not of the film: see `leases.most_attempts`.

        Raises:
            LeaseLost: another attempt owns the explanation.
        """
        most = most_attempts(held, is_ours=is_ours)
        if held.attempt >= most:
            self.fail(held, actor, POISONED, POISONED_DETAIL)
            return ExplanationState.FAILED
        due = self.now + timedelta(seconds=delay_s)
        job_id = self.leave_running(held, state=ExplanationState.QUEUED, not_before=due, max_attempts=most)
        self.record(held.tenant, actor, "explanation_requeued", job_id, explanation=held.id,
                    attempt=held.attempt, error_code=code)  # fmt: skip
        return ExplanationState.QUEUED

    def requeue_expired(self, limit: int = 100) -> list[tuple[str, ExplanationState]]:
        """Requeue explanations whose worker died: running with an expired lease to queued, or to failed.

        Returns:
            (explanation id, new state) of each that changed.
        """
        rows = self.sql.execute(
            _held()
            .where(*self.lapsed())
            .order_by(Explanation.lease_until)
            .limit(limit)
            .with_for_update(skip_locked=True, of=Explanation)
        ).all()
        return [(row.id, self.retry(Claim(*row), "sweeper", "lease_expired", 0.0)) for row in rows]

    def mark_rung(self, silent_s: float, limit: int) -> list[str]:
        """Mark due explanations that had no ring for `silent_s` as rung; returns at most `limit` ids."""
        silent = self.silent(silent_s, limit)
        return list(
            self.sql.scalars(
                update(Explanation)
                .where(Explanation.id.in_(select(silent.c.id)), Explanation.state == ExplanationState.QUEUED)
                .values(last_rung_at=self.now)
                .returning(Explanation.id)
            )
        )

    def _read_order(self, explanation_id: str) -> Order:
        held = Claim(*self.sql.execute(_held().where(Explanation.id == explanation_id)).one())
        row, result = self.sql.execute(
            select(Explanation, Result)
            .join(Result, Result.job_id == Explanation.job_id)
            .where(Explanation.id == explanation_id)
        ).one()
        is_of_verdict = result.saliency_method == row.method
        return Order(
            held=held,
            job_id=row.job_id,
            method=ExplanationMethod(row.method),
            label=row.label,
            seed=row.seed,
            model_sha256=row.model_sha256,
            preprocessing=result.preprocessing,
            verdict_map=result.saliency if is_of_verdict else None,
        )


def _held() -> Select[str, str, int, int, str, str]:
    """Select the columns of a `Claim`; its film is the job's."""
    row = Explanation
    columns = (row.id, row.tenant, row.attempt, row.max_attempts, Job.blob_ref, row.request_id)
    return select(*columns).join(Job, Job.id == row.job_id)
