"""The tables, typed. `migrations/` creates them; a test compares. Their writers are in ARCHITECTURE.md, "Data"."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar, Final, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.domain import ExplanationMethod, ExplanationState, JobState, ReaderLabel, Role

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime in Python; timestamptz on PostgreSQL, sortable UTC text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the UTC time, naive for SQLite; a naive argument is an error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the database")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored time as aware UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The base of all tables; it names every constraint alike on both databases."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {datetime: UtcDateTime()}


def table_of(entity: type[Base]) -> Table:
    """Return the table itself, for inserts that bypass the mapper, whose processing of each value costs more."""
    return cast("Table", entity.__table__)


def _one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _partial_index(name: str, *columns: str, where: str, only: str | None = None) -> Index:
    """Return an index of the rows where `where` holds.

    Args:
        only: an extra predicate that a query must repeat for PostgreSQL to consider this partial index (DECISIONS 85).
    """
    postgresql_where = f"{where} AND {only}" if only else where
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(postgresql_where))


class DatabaseIdentity(Base):
    """The identity of this database: one row. The films' folder repeats `id`; until it does, `marked_at` is null."""

    __tablename__ = "database_identity"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    marked_at: Mapped[datetime | None]


class Tenant(Base):
    """The owner of films; each read and write names one. At `served_at` one of its films was last claimed."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime]
    served_at: Mapped[datetime | None]


class ApiKey(Base):
    """A hashed key: the secret is shown once and not stored."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    role: Mapped[str] = mapped_column(String(16))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (_one_of("role", Role),)


class LoginLink(Base):
    """A one-time login link; stored as a hash, deleted once used."""

    __tablename__ = "login_links"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    expires_at: Mapped[datetime]


class Model(Base):
    """A model version that a worker has loaded, by the SHA-256 of its weights; `report` is its model.json, if any."""

    __tablename__ = "models"

    weights_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(64))
    manifest: Mapped[str] = mapped_column(Text)
    report: Mapped[str | None] = mapped_column(Text)
    registered_at: Mapped[datetime]


class Batch(Base):
    """Films that are sent together: a job names its batch, which outlives its jobs."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    owner: Mapped[str] = mapped_column(String(32))
    idempotency_key: Mapped[str | None] = mapped_column(String(128))
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("tenant", "idempotency_key"),)


class Job(Base):
    """One request to classify one film. `attempt` is the fencing token."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    owner: Mapped[str] = mapped_column(String(32))
    idempotency_key: Mapped[str | None] = mapped_column(String(128))
    input_sha256: Mapped[str] = mapped_column(String(64))
    pixels_sha256: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(8))
    mode: Mapped[str] = mapped_column(String(16))
    bit_depth: Mapped[int] = mapped_column(SmallInteger)
    width_px: Mapped[int]
    height_px: Mapped[int]
    blob_ref: Mapped[str] = mapped_column(String(170))
    state: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(SmallInteger)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    max_attempts: Mapped[int] = mapped_column(SmallInteger)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_rung_at: Mapped[datetime]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(String(500))
    request_id: Mapped[str] = mapped_column(String(64))
    batch_id: Mapped[str | None] = mapped_column(String(36))

    __table_args__ = (
        UniqueConstraint("tenant", "idempotency_key"),
        _one_of("state", JobState),
        CheckConstraint("priority IN (0, 1, 2)", name="priority"),
        CheckConstraint("attempt >= 0 AND attempt <= max_attempts", name="attempt"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease"),
        _partial_index("ix_jobs_due", "priority", "not_before", "id", where="state = 'queued'", only="id <> ''"),
        _partial_index("ix_jobs_leases", "lease_until", where="state = 'running'"),
        _partial_index(
            "ix_jobs_line", "tenant", "priority", "not_before", "id", where="state = 'queued'", only="tenant <> ''"
        ),
        Index("ix_jobs_tenant_id", "tenant", "id"),
        Index("ix_jobs_state", "tenant", "state", "id"),
        _partial_index("ix_jobs_batch", "tenant", "batch_id", "id", where="batch_id IS NOT NULL"),
        _partial_index("ix_jobs_answered", "tenant", "input_sha256", "id", where="state = 'succeeded' AND attempt > 0"),
        _partial_index("ix_jobs_expiry", "expires_at", where="state = 'queued' AND expires_at IS NOT NULL"),
        _partial_index("ix_jobs_unrung", "last_rung_at", where="state = 'queued'", only="last_rung_at IS NOT NULL"),
        Index("ix_jobs_finished_at", "finished_at"),
    )


USES_DUE_INDEX: Final[ColumnElement[bool]] = literal_column("jobs.id <> ''", Boolean)
USES_LINE_INDEX: Final[ColumnElement[bool]] = literal_column("jobs.tenant <> ''", Boolean)
"""Always true. Adding one of these to a query on queued jobs pins the partial index (`ix_jobs_due`, `ix_jobs_line`) on
PostgreSQL, because with statistics of an empty queue the planner may choose one that reads the whole queue."""


def has_state_unindexed(state: JobState) -> ColumnElement[bool]:
    """Return `state == x`, written so that no index on state is used; the rows are already selected by id."""
    return (Job.state + "") == state


class Result(Base):
    """The result of one attempt; at most one a job, by its primary key. `tenant` is the job's, for lists by verdict."""

    __tablename__ = "results"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), server_default="")
    model_sha256: Mapped[str] = mapped_column(ForeignKey("models.weights_sha256"))
    verdict: Mapped[str] = mapped_column(String(32))
    probabilities: Mapped[dict[str, float]] = mapped_column(JSON)
    other_probability: Mapped[float | None]
    prediction_set: Mapped[list[str]] = mapped_column(JSON)
    reasons: Mapped[list[str]] = mapped_column(JSON)
    saliency_method: Mapped[str] = mapped_column(String(32))
    saliency: Mapped[bytes] = mapped_column(LargeBinary)
    saliency_sha256: Mapped[str] = mapped_column(String(64))
    border_share: Mapped[float]
    is_degenerate: Mapped[bool]
    preprocessing: Mapped[str] = mapped_column(String(64))
    device: Mapped[str] = mapped_column(String(64))
    code_version: Mapped[str] = mapped_column(String(32))
    worker: Mapped[str] = mapped_column(String(128))
    attempt: Mapped[int] = mapped_column(SmallInteger)
    duration_ms: Mapped[int]
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_results_verdict", "tenant", "verdict", "job_id"),)


class DeletedJob(Base):
    """A note that a job existed: the only row that is left of it outside the audit. See `deletions`."""

    __tablename__ = "deleted_jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    deleted_at: Mapped[datetime]


class Explanation(Base):
    """One requested explanation; at most one a job and method. `attempt` is the fencing token, as of jobs.

    `model_sha256` and `label` are those of the explained result. `values`, the map, is large, so it is read only by
    name; it, `parameters` and `quality` are null until the state is done.
    """

    __tablename__ = "explanations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    owner: Mapped[str] = mapped_column(String(32))
    job_id: Mapped[str] = mapped_column(ForeignKey("results.job_id"))
    method: Mapped[str] = mapped_column(String(32))
    label: Mapped[str] = mapped_column(String(32))
    seed: Mapped[int]
    model_sha256: Mapped[str] = mapped_column(ForeignKey("models.weights_sha256"))
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(SmallInteger)
    max_attempts: Mapped[int] = mapped_column(SmallInteger)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime]
    last_rung_at: Mapped[datetime]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(String(500))
    request_id: Mapped[str] = mapped_column(String(64))
    parameters: Mapped[dict[str, float] | None] = mapped_column(JSON(none_as_null=True))
    values: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True, deferred_raiseload=True)
    values_sha256: Mapped[str | None] = mapped_column(String(64))
    quality: Mapped[dict[str, object] | None] = mapped_column(JSON(none_as_null=True))
    device: Mapped[str | None] = mapped_column(String(64))
    code_version: Mapped[str | None] = mapped_column(String(32))
    worker: Mapped[str | None] = mapped_column(String(128))
    duration_ms: Mapped[int | None]

    __table_args__ = (
        UniqueConstraint("job_id", "method"),
        _one_of("state", ExplanationState),
        _one_of("method", ExplanationMethod),
        CheckConstraint("attempt >= 0 AND attempt <= max_attempts", name="attempt"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease"),
        CheckConstraint("(state = 'succeeded') = (values_sha256 IS NOT NULL)", name="map"),
        _partial_index("ix_explanations_due", "not_before", "id", where="state = 'queued'"),
        _partial_index("ix_explanations_leases", "lease_until", where="state = 'running'"),
    )


class Review(Base):
    """A reader's label of an answered film; at most one a job and reader. `reader` is the id of its key.

    `verdict`, `model_sha256` and `result_sha256` identify the reviewed answer: the last is the audit event's hash.
    """

    __tablename__ = "reviews"

    job_id: Mapped[str] = mapped_column(ForeignKey("results.job_id"), primary_key=True)
    reader: Mapped[str] = mapped_column(String(32), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    label: Mapped[str] = mapped_column(String(32))
    verdict: Mapped[str] = mapped_column(String(32))
    model_sha256: Mapped[str] = mapped_column(ForeignKey("models.weights_sha256"))
    result_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]

    __table_args__ = (
        _one_of("label", ReaderLabel),
        Index("ix_reviews_model", "tenant", "model_sha256", "verdict", "label", "job_id"),
    )


class AuditHead(Base):
    """The last event's number and hash in each stream's chain; its row lock orders the writers."""

    __tablename__ = "audit_heads"

    stream: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class AuditEvent(Base):
    """One event of a chain: insert-only, by triggers on both databases."""

    __tablename__ = "audit_events"

    stream: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(160))
    action: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(64), index=True)
    body: Mapped[str] = mapped_column(Text)
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))

    __table_args__ = (UniqueConstraint("stream", "prev_hash"),)


class WorkerHeartbeat(Base):
    """A worker's heartbeat: a live worker is one that polled the database lately."""

    __tablename__ = "worker_heartbeats"

    worker: Mapped[str] = mapped_column(String(128), primary_key=True)
    queues: Mapped[str] = mapped_column(String(64))
    model_sha256: Mapped[str] = mapped_column(ForeignKey("models.weights_sha256"))
    device: Mapped[str] = mapped_column(String(64))
    golden: Mapped[str] = mapped_column(String(16), server_default="absent")
    started_at: Mapped[datetime]
    polled_at: Mapped[datetime]


class Lock(Base):
    """A named lock with a time limit: for the sweep, the purge of orphans, and retention."""

    __tablename__ = "locks"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128))
    until: Mapped[datetime]
