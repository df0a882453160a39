"""HTML for people: worklist, film page, about the model, problems. Each route parses, reads and renders; no more.

Changes go through `/api/v1`, from the page's own scripts; a map is asked for, and a film reviewed or deleted, by forms,
which work without them. By htmx a page asks again for what is not done yet: the worklist for the rows that it does not
show as they are now, every 1.5 s and when a film that was sent from it has ended; the film page for its heatmap, every
second, and for its findings, at each event of the job, or every second where events do not come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flask import Blueprint, Response, current_app, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import generate_csrf
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from shared import wire
from shared.db import batches, explanation_queries, jobs, queries
from shared.db.keys import Principal
from shared.db.leases import POISONED
from shared.domain import ExplanationMethod, JobState, Verdict
from shared.errors import AppError, JobNotFound, NotAllowed, NotFound, all_errors
from shared.manifest import ModelManifest
from shared.wiring import Resources
from web import (
    deletion,
    explain,
    model_page,
    present,
    present_maps,
    present_report,
    present_reviews,
    review,
    security,
    submit,
)
from web.api.explanations import parse_request
from web.offload import read, read_row
from web.parsing import checked_id, parse_form, parse_query

PAGE_ROWS = 30
"""Rows of one page of the worklist, and so the most that one live request asks about."""


class WorklistQuery(BaseModel):
    """What the worklist's address may hold."""

    model_config = ConfigDict(extra="forbid")

    status: JobState | None = None
    verdict: Verdict | None = None
    batch: str | None = Field(default=None, pattern=wire.BATCH_ID)
    reviewed: Literal["no"] | None = None
    cursor: str | None = Field(default=None, pattern="^[0-9a-f-]{36}$")

    def to_list_query(self) -> wire.ListQuery:
        """The same, of one page."""
        return wire.ListQuery(**self.to_filter(), cursor=self.cursor, limit=PAGE_ROWS)

    def to_filter(self) -> dict[str, str | None]:
        """What stays the same from page to page."""
        return {"status": self.status, "verdict": self.verdict, "batch": self.batch, "reviewed": self.reviewed}


class LiveQuery(WorklistQuery):
    """What a shown worklist knows: ids of its finished rows, and `id.status` of the others, by spaces."""

    shown: str = Field(default="", max_length=50 * PAGE_ROWS)
    waiting: str = Field(default="", max_length=50 * PAGE_ROWS)


class FilmQuery(BaseModel):
    """What a film page's address may hold: the method whose map is shown, unless the verdict's."""

    model_config = ConfigDict(extra="forbid")

    map: ExplanationMethod | None = None


class HeatmapQuery(FilmQuery):
    """What a shown heatmap knows of itself."""

    seen: str = Field(default="", max_length=32)


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A film's maps: the method chosen, its explanation if it was asked for, and all that were made by method."""

    method: ExplanationMethod
    shown: wire.ExplanationDetail | None
    made: dict[ExplanationMethod, wire.ExplanationDetail]
    explainers: int


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

    `reviews` are of those rows; a row that stays as it is learns of a review when the page is opened again.
    """

    changed: list[wire.Job]
    gone: list[str]
    new: list[wire.Job]
    worklist: Worklist
    reviews: review.ByJob


FILTERS = {**present.FILTERS, **present_maps.FILTERS, **present_report.FILTERS, **present_reviews.FILTERS}


def create_blueprint(resources: Resources) -> Blueprint:
    """The routes over `resources`."""
    pages = Blueprint("pages", __name__)
    for name, function in FILTERS.items():
        pages.add_app_template_filter(function, name)
    pages.app_context_processor(
        lambda: {
            **present.CHOICES,
            **present_maps.CHOICES,
            **present_reviews.CHOICES,
            "can_change": can_change(),
            "can_operate": can_operate(),
            "is_in_session": is_in_session(),
        }
    )
    _add_worklist(pages, resources)
    _add_film(pages, resources)
    _add_heatmap(pages, resources)
    _add_open_pages(pages, resources)
    model_page.add_routes(pages, resources)
    return pages


def _add_worklist(pages: Blueprint, resources: Resources) -> None:
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
        return render_template("live.html", changes=changes)


def _add_film(pages: Blueprint, resources: Resources) -> None:
    def render(template: str, job: wire.Job, method: ExplanationMethod | None, live_workers: int) -> str:
        return render_template(
            template,
            job=job,
            heatmap=read_heatmap(resources, g.principal, job, method),
            manifest=read_manifest(resources, job),
            live_workers=live_workers,
            opinions=review.get_opinions(resources, g.principal, job),
            may_delete=deletion.may_delete(resources, g.principal, job.id),
            kept_until=deletion.kept_until(resources.settings, job),
            csrf_token=generate_csrf(),
        )

    @pages.get("/jobs/<job_id>")
    def film(job_id: str) -> str:
        query, job = parse_query(FilmQuery), submit.get_job(resources, g.principal, checked_id(job_id))
        return render("film.html", job, query.map, read_live_workers(resources, job))

    @pages.get("/jobs/<job_id>/findings")
    def findings(job_id: str) -> ResponseReturnValue:
        job = submit.get_job(resources, g.principal, checked_id(job_id))
        workers = read_live_workers(resources, job)
        if request.args.get("seen") == present.seen_mark(job, workers):
            return "", 204
        return render("findings.html", job, None, workers)

    @pages.post("/jobs/<job_id>/review")
    def review_film(job_id: str) -> ResponseReturnValue:
        said, query = parse_form(wire.ReviewRequest), parse_query(FilmQuery)
        review.review(resources, g.principal, checked_id(job_id), said.label)
        return redirect(url_for("pages.film", job_id=job_id, map=query.map, _anchor="review"), 303)

    @pages.post("/jobs/<job_id>/delete")
    def delete_film(job_id: str) -> ResponseReturnValue:
        deletion.delete(resources, g.principal, checked_id(job_id))
        flash(f"Film {present.short_id(job_id)} is deleted.")
        return redirect(url_for("pages.worklist"), 303)


def _add_heatmap(pages: Blueprint, resources: Resources) -> None:
    def render(job_id: str, method: ExplanationMethod | None, seen: str | None = None) -> Response:
        job = submit.get_job(resources, g.principal, job_id)
        found = read_heatmap(resources, g.principal, job, method)
        if found is None:
            raise NotFound("This job has no result yet, so it has no heatmap.")
        if seen == present_maps.seen_map(found.shown):
            return Response(status=204)
        html = render_template("heatmap.html", job=job, heatmap=found, csrf_token=generate_csrf())
        return Response(html, mimetype="text/html")

    def is_there(job_id: str, method: ExplanationMethod) -> bool:
        found = read_heatmap(resources, g.principal, submit.get_job(resources, g.principal, job_id), method)
        return bool(found and found.shown and found.shown.sha256 and not found.shown.error)

    @pages.get("/jobs/<job_id>/heatmap")
    def heatmap(job_id: str) -> Response:
        query = parse_query(HeatmapQuery)
        return render(checked_id(job_id), query.map, query.seen)

    @pages.post("/jobs/<job_id>/explanations")
    def ask_for_map(job_id: str) -> ResponseReturnValue:
        method = parse_request().method
        if "show" not in request.args or not is_there(checked_id(job_id), method):
            explain.ask(resources, g.principal, checked_id(job_id), method, g.request_id)
        address = url_for("pages.film", job_id=job_id, map=method.value)
        if "HX-Request" in request.headers:
            response = render(job_id, method)
            response.headers["HX-Replace-Url"] = address
            return response
        return redirect(f"{address}#heatmap", 303)


def _add_open_pages(pages: Blueprint, resources: Resources) -> None:
    @pages.get("/problems")
    def problems() -> str:
        return render_template("problems.html", errors=list_errors(), poisoned=(POISONED, jobs.POISONED_DETAIL))

    @pages.get("/enter/<token>")
    def enter(token: str) -> ResponseReturnValue:
        if request.method == "HEAD":  # a look at the link, by a scanner say, does not use it up
            return "", 204
        try:
            security.enter(resources, token)
        except NotAllowed:
            if not is_signed_in(resources):
                raise
        return redirect(url_for("pages.worklist"), 303)

    @pages.post(security.LEAVE)
    def leave() -> ResponseReturnValue:
        security.leave()
        return redirect(url_for("pages.worklist"), 303)  # which says how to enter

    @pages.get("/favicon.ico")
    def favicon() -> Response:
        return current_app.send_static_file("favicon.svg")


def can_change() -> bool:
    """True where the caller's key may do more than look; controls that would only be refused are left out."""
    return "principal" in g and g.principal.role in security.CHANGING_ROLES


def can_operate() -> bool:
    """True where the caller's key may see how the whole service does."""
    return "principal" in g and g.principal.role in security.OPERATING_ROLES


def is_in_session() -> bool:
    """True for a browser's session, which can be ended; a program's key has none."""
    return "principal" in g and "key_id" in session


def is_signed_in(resources: Resources) -> bool:
    """True for a browser whose session is valid; a used link, opened there once more, has nothing to refuse."""
    try:
        security.identify(resources)
    except NotAllowed:
        return False
    return True


def read_heatmap(
    resources: Resources, who: Principal, job: wire.Job, method: ExplanationMethod | None
) -> Heatmap | None:
    """The chosen map of a job, else the verdict's, with the state of all; None without a result."""
    if job.result is None:
        return None
    chosen = method or ExplanationMethod(job.result.explanations[0].method)
    database = resources.database

    def query(sql: Session) -> Heatmap:
        found = explanation_queries.list_explanations(sql, who.tenant, job.id).explanations
        made = {each.method: each for each in found}
        explainers = explanation_queries.count_live_explainers(sql, database.now(sql))
        return Heatmap(chosen, made.get(chosen), made, explainers)

    return read(database, query)


def read_manifest(resources: Resources, job: wire.Job) -> ModelManifest | None:
    """Of the model that answered, for its limits; None before that."""
    if job.model is None:
        return None
    sha256 = job.model.sha256
    return read_row(resources.database, lambda sql: queries.get_manifest(sql, sha256))


def read_live_workers(resources: Resources, job: wire.Job) -> int:
    """How many workers may take a job that is not done; not asked for one that is."""
    database = resources.database
    return 0 if job.done else read(database, lambda sql: queries.count_live_workers(sql, database.now(sql)))


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
        live_workers=queries.count_live_workers(session, now),
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
    kept = queries.known_jobs(session, shown) if shown else set()
    gone = [id_ for id_ in found if id_ not in current] + [id_ for id_ in shown if id_ not in kept]
    return Changes(changed, gone, new, worklist, review.of_rows(session, [*changed, *new]))


def list_errors() -> list[tuple[type[AppError], str]]:
    """Every error with what it means: the first line of its docstring."""
    told = {error: (error.__doc__ or "").partition("\n")[0] for error in all_errors()}
    told[AppError] = "A fault of ours; the answer names the entry in the service's log."
    return list(told.items())


def _find_job(session: Session, tenant: str, job_id: str) -> wire.Job | None:
    try:
        return queries.get_job(session, tenant, job_id)
    except JobNotFound:
        return None
