"""Many rows of jobs and results at once, made by the database itself; beside `shared/db` the only writer of jobs.

No audit events go with them: claims and lists do not read any. A row's film is the one blob that all share, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Integer, String, case, func, insert, literal, select, text
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Job, Model, Result, UtcDateTime
from shared.domain import JobState, Priority, Verdict
from shared.manifest import ModelManifest

CHUNK = 100_000
SHA256 = "0" * 64


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows to make.

    Attributes:
        first: number of the first; later numbers have later ids.
        count: how many.
        state: queued ones, or succeeded ones with their results.
    """

    tenant: str
    owner: str
    first: int
    count: int
    state: JobState
    priority: Priority = Priority.ROUTINE
    blob_ref: str = "none"


def register(database: Database, manifest: ModelManifest) -> None:
    """The model that the results name."""
    with database.begin() as session:
        values = {
            "weights_sha256": manifest.weights_sha256, "name": manifest.name, "version": manifest.version,
            "manifest": manifest.model_dump_json(), "report": None, "registered_at": database.now(session),
        }  # fmt: skip
        session.execute(insert(Model), [values])


def make(database: Database, rows: Rows, model_sha256: str) -> None:
    """Insert them, a chunk a transaction; the earlier chunk is a second older."""
    chunks = range(rows.first, rows.first + rows.count, CHUNK)
    for place, first in enumerate(chunks):
        last = min(first + CHUNK, rows.first + rows.count) - 1
        with database.begin() as session:
            if not database.is_sqlite:
                session.execute(text("SET LOCAL statement_timeout = 0"))
            at = database.now(session) - timedelta(seconds=len(chunks) - place)
            _insert(session, rows, first, last, at)
            if rows.state is JobState.SUCCEEDED:
                _insert_results(session, rows.tenant, first, last, at, model_sha256)
    if not database.is_sqlite:
        with database.begin() as session:
            session.execute(text("ANALYZE"))  # what its autovacuum does in time


def job_id(number: int) -> str:
    """The id of a row's number, in the form of a UUID of version 7."""
    return f"{number:08x}-0000-7000-8000-{number:012x}"


def _insert(session: Session, rows: Rows, first: int, last: int, at: datetime) -> None:
    number = _count(first, last)
    moment = literal(at, UtcDateTime())
    is_done = rows.state is JobState.SUCCEEDED
    values: dict[str, ColumnElement[object]] = {
        "id": _id(session, number),
        **{name: literal(value, String) for name, value in _texts(rows).items()},
        **{name: literal(value, Integer) for name, value in _numbers(rows, is_done=is_done).items()},
        **dict.fromkeys(["not_before", "last_rung_at", "created_at"], moment),
        **(dict.fromkeys(["started_at", "finished_at"], moment) if is_done else {}),
    }
    session.execute(insert(Job).from_select(list(values), select(*values.values())))


def _insert_results(  # noqa: PLR0913, PLR0917 - one call
    session: Session, tenant: str, first: int, last: int, at: datetime, model_sha256: str
) -> None:
    """One in ten thousand is not assessable, the others go round the labels' verdicts."""
    number = _count(first, last)
    verdict = case(
        (number % 10_000 == 0, Verdict.NOT_ASSESSABLE.value),
        (number % 4 == 0, Verdict.NORMAL.value),
        (number % 4 == 1, Verdict.COVID19.value),
        (number % 4 == 2, Verdict.VIRAL_PNEUMONIA.value),
        else_=Verdict.UNCERTAIN.value,
    )
    same: dict[str, object] = {
        "tenant": tenant, "model_sha256": model_sha256,
        "probabilities": {"normal": 0.9, "covid19": 0.06, "viral_pneumonia": 0.04},
        "prediction_set": ["normal"], "reasons": [], "saliency_method": "grad_cam", "saliency": b"\0" * 324,
        "saliency_sha256": SHA256, "border_share": 0.1, "is_degenerate": False, "preprocessing": "grey_soft_v1",
        "device": "bench", "code_version": "bench", "worker": "bench", "attempt": 1, "duration_ms": 10,
        "created_at": at,
    }  # fmt: skip
    columns = Result.__table__.c
    values = {
        "job_id": _id(session, number),
        "verdict": verdict,
        **{name: literal(value, columns[name].type) for name, value in same.items()},
    }
    session.execute(insert(Result).from_select(list(values), select(*values.values())))


def _count(first: int, last: int) -> ColumnElement[int]:
    """The numbers from first to last, as a column."""
    start = select(literal(first, Integer).label("n")).cte("numbers", recursive=True)
    return start.union_all(select(start.c.n + 1).where(start.c.n < last)).c.n


def _texts(rows: Rows) -> dict[str, str]:
    return {
        "tenant": rows.tenant, "owner": rows.owner, "input_sha256": SHA256, "pixels_sha256": SHA256, "kind": "png",
        "mode": "L", "blob_ref": rows.blob_ref, "state": rows.state.value, "request_id": "bench",
    }  # fmt: skip


def _numbers(rows: Rows, *, is_done: bool) -> dict[str, int]:
    return {
        "bit_depth": 8, "width_px": 1024, "height_px": 1024, "priority": rows.priority.rank,
        "attempt": int(is_done), "max_attempts": 3,
    }  # fmt: skip


def _id(session: Session, number: ColumnElement[int]) -> ColumnElement[object]:
    """`job_id` in SQL."""
    if session.get_bind().dialect.name == "sqlite":
        return func.printf("%08x-0000-7000-8000-%012x", number, number)
    head, tail = (func.lpad(func.to_hex(number), width, "0") for width in (8, 12))
    return func.concat(head, "-0000-7000-8000-", tail)
