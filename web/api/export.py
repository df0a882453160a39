"""`/api/v1/jobs.csv`: a list of jobs as a table, a line each, however many there are; read page by page."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from flask import Blueprint, Response, g
from sqlalchemy.orm import Session

from shared import wire
from shared.db import queries
from shared.db.engine import Database
from shared.domain import Verdict
from shared.errors import WaitersFull
from shared.wiring import Resources
from web import review
from web.offload import read
from web.parsing import parse_query

PAGE: Final = 200
MOST_AT_ONCE: Final = 2
"""Tables that a process writes at once: each keeps a core busy, and others wait for their answers."""

LABELS: Final = tuple(verdict for verdict in Verdict if verdict not in {Verdict.UNCERTAIN, Verdict.NOT_ASSESSABLE})
COLUMNS: Final = (
    "id", "status", "verdict", *(f"p_{label}" for label in LABELS), "p_other", "prediction_set", "reasons", "priority",
    "attempt", "cached", "created_at", "finished_at", "input_sha256", "pixels_sha256", "model", "model_version",
    "model_sha256", "preprocessing", "device", "code_version", "error", "reviews",
)  # fmt: skip


def create_blueprint(resources: Resources) -> Blueprint:
    """The route over `resources`."""
    export = Blueprint("export", __name__)
    seats = threading.BoundedSemaphore(MOST_AT_ONCE)

    @export.get("/api/v1/jobs.csv")
    def export_jobs() -> Response:
        query, tenant = parse_query(wire.ExportQuery), g.principal.tenant
        first = wire.ListQuery(**query.model_dump(), limit=PAGE)
        if not seats.acquire(blocking=False):
            raise WaitersFull(f"{MOST_AT_ONCE} tables are being written already; try again shortly.")
        table = Table(resources.database, tenant, first, seats.release)
        try:
            table.begin()  # what is wrong is told before the first line
        except BaseException:
            table.close()
            raise
        headers = {"Content-Disposition": 'attachment; filename="plainfilm-jobs.csv"'}
        return Response(table, mimetype="text/csv", headers=headers)

    return export


class Table:
    """The lines of a table, a page of jobs at a time; each page is a snapshot, and what comes meanwhile is newer.

    Args:
        let_go: called once, when nobody reads on.
    """

    def __init__(self, database: Database, tenant: str, query: wire.ListQuery, let_go: Callable[[], None]) -> None:
        self._database, self._tenant = database, tenant
        self._query: wire.ListQuery | None = query
        self._head = _line(COLUMNS)
        self._page = wire.JobList(jobs=[], next_cursor=None)
        self._reviews: review.ByJob = {}
        self._let_go: Callable[[], None] | None = let_go

    def begin(self) -> None:
        """Read the first page."""
        self._read_on()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        lines = self._head + "".join(_line(as_row(job, self._reviews.get(job.id, ()))) for job in self._page.jobs)
        if not lines:
            self.close()
            raise StopIteration
        self._head, self._page = "", wire.JobList(jobs=[], next_cursor=self._page.next_cursor)
        self._read_on()
        return lines

    def close(self) -> None:
        """Nobody reads on; the server calls it however the request ends."""
        if self._let_go is not None:
            self._let_go()
            self._let_go = None

    def _read_on(self) -> None:
        if self._query is None:
            return
        query, tenant = self._query, self._tenant

        def look(sql: Session) -> tuple[wire.JobList, review.ByJob]:
            found = queries.list_jobs(sql, tenant, query)
            return found, review.of_rows(sql, found.jobs)

        self._page, self._reviews = read(self._database, look)
        following = self._page.next_cursor
        self._query = query.model_copy(update={"cursor": following}) if following else None


def as_row(job: wire.Job, reviews: Sequence[wire.Review]) -> list[str]:
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
        " ".join(each.label for each in reviews),
    ]  # fmt: skip
    return ["" if each is None else str(each).lower() if isinstance(each, bool) else str(each) for each in found]


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()
