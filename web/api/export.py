"""`/api/v1/jobs.csv`: a list of jobs as a table, a line each, however many there are; read page by page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Final

from flask import Blueprint, Response, g

from shared import wire
from shared.db import queries
from shared.db.engine import Database
from shared.domain import Verdict
from shared.wiring import Resources
from web.offload import read
from web.parsing import parse_query

PAGE: Final = 200
LABELS: Final = tuple(verdict for verdict in Verdict if verdict not in {Verdict.UNCERTAIN, Verdict.NOT_ASSESSABLE})
COLUMNS: Final = (
    "id", "status", "verdict", *(f"p_{label}" for label in LABELS), "p_other", "prediction_set", "reasons", "priority",
    "attempt", "cached", "created_at", "finished_at", "input_sha256", "pixels_sha256", "model", "model_version",
    "model_sha256", "preprocessing", "device", "code_version", "error",
)  # fmt: skip


def create_blueprint(resources: Resources) -> Blueprint:
    """The route over `resources`."""
    export = Blueprint("export", __name__)

    @export.get("/api/v1/jobs.csv")
    def export_jobs() -> Response:
        query, tenant = parse_query(wire.ExportQuery), g.principal.tenant
        first = wire.ListQuery(**query.model_dump(), limit=PAGE)
        page = read(
            resources.database, lambda sql: queries.list_jobs(sql, tenant, first)
        )  # what is wrong is told first
        headers = {"Content-Disposition": 'attachment; filename="plainfilm-jobs.csv"'}
        return Response(_lines(resources.database, tenant, first, page), mimetype="text/csv", headers=headers)

    return export


def _lines(database: Database, tenant: str, query: wire.ListQuery, page: wire.JobList) -> Iterator[str]:
    """Each page is a snapshot of its own; jobs that come meanwhile are newer than the first one."""
    yield _line(COLUMNS)
    while True:
        yield "".join(_line(as_row(job)) for job in page.jobs)
        if page.next_cursor is None:
            return
        query = query.model_copy(update={"cursor": page.next_cursor})
        page = read(database, lambda sql, query=query: queries.list_jobs(sql, tenant, query))  # type: ignore[misc]


def as_row(job: wire.Job) -> list[str]:
    """A job's cells, in the order of `COLUMNS`; empty where it has nothing to say."""
    result, model = job.result, job.model
    shares = [result.probabilities.get(label) for label in LABELS] if result else [None] * len(LABELS)
    found: list[object] = [
        job.id, job.status, result and result.verdict, *shares, result and result.other_probability,
        " ".join(result.prediction_set) if result else None, " ".join(result.reasons) if result else None,
        job.priority, job.attempt, job.cached, job.created_at.isoformat(),
        job.finished_at and job.finished_at.isoformat(),
        job.input.sha256, job.input.pixels_sha256, model and model.name, model and model.version,
        model and model.sha256, model and model.preprocessing, result and result.device,
        result and result.code_version, job.error and job.error.code,
    ]  # fmt: skip
    return ["" if each is None else str(each) for each in found]


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()
