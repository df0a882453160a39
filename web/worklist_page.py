"""The worklist: a page of jobs with counts and filters, and the changes of a page that a browser shows.

With htmx the page polls for changed rows every 1.5 s, and when a film that was sent from it has ended. It asks which of
the films that were sent from it are gone when it is opened or looked at again, and when a row goes.
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
"""Rows of one page of the worklist, and so the most that one poll is about."""

MOST_ASKED = 100
"""Most films that one question for deleted ones is about: its address stays below what servers take."""


class WorklistQuery(BaseModel):
    """The query of the worklist's address."""

    model_config = ConfigDict(extra="forbid")

    status: JobState | None = None
    verdict: Verdict | None = None
    batch: str | None = Field(default=None, pattern=wire.ID_PATTERN)
    reviewed: Literal["no"] | None = None
    cursor: str | None = Field(default=None, pattern=wire.ID_PATTERN)

    def to_list_query(self) -> wire.ListQuery:
        """Return the query for one page of jobs."""
        return wire.ListQuery(**self.to_filter(), cursor=self.cursor, limit=PAGE_ROWS)

    def to_filter(self) -> dict[str, str | None]:
        """Return the filters, which all pages of a list share."""
        return {"status": self.status, "verdict": self.verdict, "batch": self.batch, "reviewed": self.reviewed}


class LiveQuery(WorklistQuery):
    """The query of a poll: ids of the shown ended rows, and `id.status` of the others, separated by spaces."""

    shown: str = Field(default="", max_length=50 * PAGE_ROWS, pattern="^(?:[0-9a-f-]{36} ?)*$")
    waiting: str = Field(default="", max_length=50 * PAGE_ROWS, pattern="^(?:[0-9a-f-]{36}[.][a-z]+ ?)*$")


class GoneQuery(BaseModel):
    """Ids of films that were sent from a page, separated by spaces."""

    model_config = ConfigDict(extra="forbid")

    jobs: str = Field(max_length=37 * MOST_ASKED, pattern="^(?:[0-9a-f-]{36} ?)*$")


@dataclass(frozen=True, slots=True)
class Worklist:
    """One page of jobs, with the counts of all jobs or of the one batch that is shown."""

    page: wire.JobList
    batch: wire.Batch | None
    counts: dict[JobState, int]
    live_workers: int


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes to a shown worklist.

    Attributes:
        changed: shown jobs with another status than the shown one.
        gone: ids of rows to remove.
        new: jobs whose rows are missing.
        worklist: the current first page, counts and workers.
        reviews: of the changed and the new jobs. An unchanged row shows a new review only when the page is loaded
            again; in a list of films without reviews it is removed at once.
    """

    changed: list[wire.Job]
    gone: list[str]
    new: list[wire.Job]
    worklist: Worklist
    reviews: review.ByJob


def add_routes(pages: Blueprint, resources: Resources) -> None:
    """Add the routes to the blueprint of all pages."""
    database = resources.database

    @pages.get("/")
    def worklist() -> str:
        query, tenant = parse_query(WorklistQuery), g.principal.tenant

        def read_page(sql: Session) -> tuple[Worklist, review.ByJob]:
            page = get_worklist(sql, database.now(sql), tenant, query)
            return page, review.of_rows(sql, page.page.jobs)

        page, reviews = read(database, read_page)
        return render_template(
            "worklist.html",
            worklist=page,
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

    @pages.get("/gone")
    def gone() -> list[str]:
        asked, tenant = parse_query(GoneQuery).jobs.split(), g.principal.tenant
        known = read(database, lambda sql: queries.known_jobs(sql, asked, tenant))
        return [job_id for job_id in asked if job_id not in known]

    @pages.post("/batches/<batch_id>/cancel")
    def cancel_batch(batch_id: str) -> ResponseReturnValue:
        cancel(resources, g.principal, checked_batch_id(batch_id))
        flash("The unfinished films of this batch were cancelled.")
        return redirect(url_for("pages.worklist", batch=batch_id), 303)


def get_worklist(session: Session, now: datetime, tenant: str, query: WorklistQuery) -> Worklist:
    """Return one page of the tenant's jobs, the counts of all its jobs or of the batch, and the living workers.

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
    """Return the changes that turn the shown rows into the current first page.

    A row is removed if its job no longer passes the filter or was deleted.
    """
    worklist = get_worklist(session, now, tenant, query)
    by_id = {job.id: job for job in worklist.page.jobs}
    waiting = dict(entry.partition(".")[::2] for entry in query.waiting.split())
    shown = query.shown.split()
    waiting_jobs = {job_id: by_id.get(job_id) or _find_job(session, tenant, job_id) for job_id in waiting}
    current = {id_: job for id_, job in waiting_jobs.items() if job and query.status in {None, job.status}}
    changed = [job for job in current.values() if job.status != waiting[job.id]]
    known = waiting.keys() | set(shown)
    new = [job for job in worklist.page.jobs if job.id not in known and not query.cursor]
    kept = _keep_passing(session, tenant, query, shown) if shown else set()
    gone = [id_ for id_ in waiting_jobs if id_ not in current] + [id_ for id_ in shown if id_ not in kept]
    return Changes(changed, gone, new, worklist, review.of_rows(session, [*changed, *new]))


def _keep_passing(session: Session, tenant: str, query: LiveQuery, shown: list[str]) -> set[str]:
    """Return which of the shown ended jobs still exist and pass the filter: a reader may have reviewed one."""
    known = queries.known_jobs(session, shown, tenant)
    return known - review_queries.find_reviews(session, shown).keys() if query.reviewed else known


def _find_job(session: Session, tenant: str, job_id: str) -> wire.Job | None:
    try:
        return queries.get_job(session, tenant, job_id)
    except JobNotFound:
        return None
