"""`/api/v1/jobs.csv`: a list of jobs as CSV, one line per job, without a limit; read page by page."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Final

from flask import Blueprint, Response, g
from sqlalchemy.orm import Session

from shared import wire
from shared.db import queries
from shared.db.engine import Database
from shared.domain import ABSTENTIONS, Verdict
from shared.wiring import Resources
from web import review
from web.offload import read
from web.parsing import parse_query

PAGE: Final = 200
MOST_AT_ONCE: Final = 2
"""Most pages that a process reads at once: each keeps a CPU core busy, and other requests need it too."""

LABELS: Final = tuple(verdict for verdict in Verdict if verdict not in ABSTENTIONS)
COLUMNS: Final = (
    "id", "status", "verdict", *(f"p_{label}" for label in LABELS), "p_other", "prediction_set", "reasons", "priority",
    "attempt", "cached", "created_at", "finished_at", "input_sha256", "pixels_sha256", "model", "model_version",
    "model_sha256", "preprocessing", "device", "code_version", "error", "reviews",
)  # fmt: skip


def create_blueprint(resources: Resources) -> Blueprint:
    """Return the route over `resources`."""
    export = Blueprint("export", __name__)
    seats = threading.BoundedSemaphore(MOST_AT_ONCE)

    @export.get("/api/v1/jobs.csv")
    def export_jobs() -> Response:
        query, tenant = parse_query(wire.ExportQuery), g.principal.tenant
        pages = read_pages(resources.database, seats, tenant, wire.ListQuery(**query.model_dump(), limit=PAGE))
        first = next(pages)  # so that an error is answered before the response begins
        headers = {"Content-Disposition": 'attachment; filename="plainfilm-jobs.csv"'}
        return Response(chain([first], pages), mimetype="text/csv", headers=headers)

    return export


def read_pages(
    database: Database, seats: AbstractContextManager[object], tenant: str, first: wire.ListQuery
) -> Iterator[str]:
    """Yield the table's lines, one page of jobs at a time; each page is a snapshot of its own.

    Jobs that are submitted meanwhile are left out, since the list goes from the newest to the oldest.

    Args:
        seats: a semaphore held while a page is read, not while it is sent: slow clients block no others.
    """
    lines, query = _line(COLUMNS), first
    while True:
        with seats:
            page, reviews = read(database, partial(_read_page, tenant=tenant, query=query))
            lines += "".join(_line(as_row(job, reviews.get(job.id, ()))) for job in page.jobs)
        yield lines
        if page.next_cursor is None:
            return
        lines, query = "", query.model_copy(update={"cursor": page.next_cursor})


def _read_page(sql: Session, tenant: str, query: wire.ListQuery) -> tuple[wire.JobList, review.ByJob]:
    page = queries.list_jobs(sql, tenant, query)
    return page, review.of_rows(sql, page.jobs)


def _utc(at: datetime) -> str:
    """Return a time as our JSON writes it."""
    return at.isoformat().replace("+00:00", "Z")


def as_row(job: wire.Job, reviews: Sequence[wire.Review]) -> list[str]:
    """Return a job's cells in the order of `COLUMNS`; empty where the job has no value."""
    result, model = job.result, job.model
    shares = [result.probabilities.get(label) for label in LABELS] if result else [None] * len(LABELS)
    values: list[object] = [
        job.id, job.status, result and result.verdict, *shares, result and result.other_probability,
        " ".join(result.prediction_set) if result else None, " ".join(result.reasons) if result else None,
        job.priority, job.attempt, job.cached, _utc(job.created_at),
        job.finished_at and _utc(job.finished_at),
        job.input.sha256, job.input.pixels_sha256, model and model.name, model and model.version,
        model and model.sha256, model and model.preprocessing, result and result.device,
        result and result.code_version, job.error and job.error.code,
        " ".join(each.label for each in reviews),
    ]  # fmt: skip
    return ["" if each is None else str(each).lower() if isinstance(each, bool) else str(each) for each in values]


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()
