"""The worklist: a page of jobs with counts and filters, and what of a shown one has changed since.

By htmx the page asks again for the rows that it does not show as they are now, every 1.5 s and when a film that was
sent from it has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flask import Blueprint, flash, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import generate_csrf
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from shared import wire
from shared.db import batches, queries, review_queries, worker_queries
from shared.domain import JobState, Verdict
from shared.errors import JobNotFound
from shared.wiring import Resources
from web import review
from web.batches import cancel
from web.offload import read
from web.parsing import checked_batch_id, parse_query

PAGE_ROWS = 30
"""Rows of one page of the worklist, and so the most that one live request asks about."""


class WorklistQuery(BaseModel):
    """What the worklist's address may hold."""

    model_config = ConfigDict(extra="forbid")

    status: JobState | None = None
    verdict: Verdict | None = None
    batch: str | None = Field(default=None, pattern=wire.ID_PATTERN)
    reviewed: Literal["no"] | None = None
    cursor: str | None = Field(default=None, pattern=wire.ID_PATTERN)

    def to_list_query(self) -> wire.ListQuery:
        """The same, of one page."""
        return wire.ListQuery(**self.to_filter(), cursor=self.cursor, limit=PAGE_ROWS)

    def to_filter(self) -> dict[str, str | None]:
        """What stays the same from page to page."""
        return {"status": self.status, "verdict": self.verdict, "batch": self.batch, "reviewed": self.reviewed}


class LiveQuery(WorklistQuery):
    """What a shown worklist knows: ids of its finished rows, and `id.status` of the others, by spaces."""

    shown: str = Field(default="", max_length=50 * PAGE_ROWS, pattern="^(?:[0-9a-f-]{36} ?)*$")
    waiting: str = Field(default="", max_length=50 * PAGE_ROWS, pattern="^(?:[0-9a-f-]{36}[.][a-z]+ ?)*$")


@dataclass(frozen=True, slots=True)
class Worklist:
    """One page of jobs, with the state of the whole queue, or of the one batch that is shown."""

    page: wire.JobList
    batch: wire.Batch | None
    counts: dict[JobState, int]
    live_workers: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What a shown worklist has to change: its own rows, ids of those to take away, and rows that it lacks.

    `reviews` are of those rows; a row that stays as it is learns of a review when the page is opened again, but goes
    at once where only films are listed that nobody reviewed.
    """

    changed: list[wire.Job]
    gone: list[str]
    new: list[wire.Job]
    worklist: Worklist
    reviews: review.ByJob


def add_routes(pages: Blueprint, resources: Resources) -> None:
    """To the blueprint of all pages."""
    database = resources.database

    @pages.get("/")
    def worklist() -> str:
        query, tenant = parse_query(WorklistQuery), g.principal.tenant

        def look(sql: Session) -> tuple[Worklist, review.ByJob]:
            found = get_worklist(sql, database.now(sql), tenant, query)
            return found, review.of_rows(sql, found.page.jobs)

        found, reviews = read(database, look)
        return render_template(
            "worklist.html",
            worklist=found,
            reviews=reviews,
            query=query,
            csrf_token=generate_csrf(),
            max_upload_bytes=resources.settings.max_upload_bytes,
            retain_days=resources.settings.retain_days,
        )

    @pages.get("/live")
    def live() -> str:
        query, tenant = parse_query(LiveQuery), g.principal.tenant
        changes = read(database, lambda sql: get_changes(sql, database.now(sql), tenant, query))
        return render_template("live.html", changes=changes, csrf_token=generate_csrf())

    @pages.post("/batches/<batch_id>/cancel")
    def cancel_batch(batch_id: str) -> ResponseReturnValue:
        cancel(resources, g.principal, checked_batch_id(batch_id))
        flash("What had not ended of this batch is cancelled.")
        return redirect(url_for("pages.worklist", batch=batch_id), 303)


def get_worklist(session: Session, now: datetime, tenant: str, query: WorklistQuery) -> Worklist:
    """One page of the tenant's jobs, the counts of all of them or of the batch, and how many workers are alive.

    Raises:
        BatchNotFound: this tenant has no such batch.
    """
    batch = batches.get_batch(session, tenant, query.batch) if query.batch else None
    return Worklist(
        page=queries.list_jobs(session, tenant, query.to_list_query()),
        batch=batch,
        counts=batch.counts if batch else queries.count_by_state(session, tenant),
        live_workers=worker_queries.count_live_workers(session, now),
    )


def get_changes(session: Session, now: datetime, tenant: str, query: LiveQuery) -> Changes:
    """The rows whose status is no longer the shown one, and what makes of the shown rows those of the first page.

    A row goes where its job no longer passes the filter, or is no longer there.
    """
    worklist = get_worklist(session, now, tenant, query)
    by_id = {job.id: job for job in worklist.page.jobs}
    waiting = dict(entry.partition(".")[::2] for entry in query.waiting.split())
    shown = query.shown.split()
    found = {job_id: by_id.get(job_id) or _find_job(session, tenant, job_id) for job_id in waiting}
    current = {id_: job for id_, job in found.items() if job and query.status in {None, job.status}}
    changed = [job for job in current.values() if job.status != waiting[job.id]]
    known = waiting.keys() | set(shown)
    new = [job for job in worklist.page.jobs if job.id not in known and not query.cursor]
    kept = _keep_passing(session, tenant, query, shown) if shown else set()
    gone = [id_ for id_ in found if id_ not in current] + [id_ for id_ in shown if id_ not in kept]
    return Changes(changed, gone, new, worklist, review.of_rows(session, [*changed, *new]))


def _keep_passing(session: Session, tenant: str, query: LiveQuery, shown: list[str]) -> set[str]:
    """Which of these, that had ended, are there and pass the filter still: somebody may have reviewed one."""
    known = queries.known_jobs(session, shown, tenant)
    return known - review_queries.find_reviews(session, shown).keys() if query.reviewed else known


def _find_job(session: Session, tenant: str, job_id: str) -> wire.Job | None:
    try:
        return queries.get_job(session, tenant, job_id)
    except JobNotFound:
        return None
