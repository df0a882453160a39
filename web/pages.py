"""HTML pages: film page, problems, sign-in and sign-out. Each route parses, reads and renders.

Films are submitted and cancelled through `/api/v1` by the page's scripts. Requesting a map, reviewing and deleting are
forms, which work without scripts. With htmx the film page polls its heatmap every second, and its findings at each
event of the job, or every second where events do not arrive.
"""

from __future__ import annotations

from flask import Blueprint, Response, current_app, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import generate_csrf
from pydantic import BaseModel, ConfigDict, Field

from shared import wire
from shared.db import jobs, worker_queries
from shared.db.leases import POISONED
from shared.domain import ExplanationMethod
from shared.errors import AppError, NotAllowed, NotFound, all_errors
from shared.rights import Right
from shared.wiring import Resources
from web import (
    deletion,
    explain,
    film_page,
    model_page,
    present,
    present_audit,
    present_charts,
    present_maps,
    present_report,
    present_reviews,
    review,
    security,
    worklist_page,
)
from web.api.explanations import parse_request
from web.backpressure import Backpressure
from web.film_page import Heatmap
from web.jobs import get_job
from web.offload import read
from web.parsing import checked_id, parse_form, parse_query


class FilmQuery(BaseModel):
    """Query of a film page: the method whose map is shown; the verdict's own where it is absent."""

    model_config = ConfigDict(extra="forbid")

    map: ExplanationMethod | None = None


class HeatmapQuery(FilmQuery):
    """Query of a poll for a heatmap: `seen` is the state of the one that is shown."""

    seen: str = Field(default="", max_length=32)


PRESENTERS = (present, present_audit, present_charts, present_maps, present_report, present_reviews)
"""The modules whose functions templates use as filters."""


def create_blueprint(resources: Resources, admission: Backpressure) -> Blueprint:
    """Return the routes over `resources`; `admission` estimates how long films wait."""
    pages = Blueprint("pages", __name__)
    for module in PRESENTERS:
        for name, function in module.FILTERS.items():
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
    worklist_page.add_routes(pages, resources)
    _add_film(pages, resources, admission)
    _add_heatmap(pages, resources)
    _add_open_pages(pages, resources)
    model_page.add_routes(pages, resources)
    return pages


def _add_film(pages: Blueprint, resources: Resources, admission: Backpressure) -> None:
    def get(job_id: str) -> wire.Job:
        job = get_job(resources, g.principal, checked_id(job_id))
        return job if job.done else admission.estimate(job)

    def render(template: str, job: wire.Job, method: ExplanationMethod | None, live_workers: int) -> str:
        database, who = resources.database, g.principal
        page = read(database, lambda sql: film_page.read_film_page(sql, database.now, who, job, method))
        return render_template(
            template,
            job=job,
            heatmap=page.heatmap,
            manifest=page.manifest,
            live_workers=live_workers,
            opinions=page.opinions,
            history=page.trail,
            outlook=page.outlook,
            again_key=resources.new_id(),
            may_delete=page.may_delete,
            kept_until=deletion.kept_until(resources.settings, job),
            csrf_token=generate_csrf(),
        )

    @pages.get("/jobs/<job_id>")
    def film(job_id: str) -> str:
        query, job = parse_query(FilmQuery), get(job_id)
        return render("film.html", job, query.map, read_live_workers(resources, job))

    @pages.get("/jobs/<job_id>/findings")
    def findings(job_id: str) -> ResponseReturnValue:
        job = get(job_id)
        workers = read_live_workers(resources, job)
        seen = request.args.get("seen", "")
        if seen == present.seen_mark(job, workers):
            return "", 204
        if not job.done and seen.startswith(present.mark_state(job)):  # unfolded parts around it stay unfolded
            return render_template("waiting.html", job=job, live_workers=workers)
        return render("findings.html", job, None, workers), {"HX-Retarget": "#findings"}

    @pages.post("/jobs/<job_id>/review")
    def review_film(job_id: str) -> ResponseReturnValue:
        label, query = parse_form(wire.ReviewRequest).label, parse_query(FilmQuery)
        review.review(resources, g.principal, checked_id(job_id), label)
        return redirect(url_for("pages.film", job_id=job_id, map=query.map, _anchor="review"), 303)

    @pages.post("/jobs/<job_id>/delete")
    def delete_film(job_id: str) -> ResponseReturnValue:
        listed = parse_query(worklist_page.WorklistQuery)
        deletion.delete(resources, g.principal, checked_id(job_id))
        flash(f"Film {present.short_id(job_id)} is deleted.")
        return redirect(url_for("pages.worklist", **listed.model_dump(mode="json", exclude_none=True)), 303)


def _add_heatmap(pages: Blueprint, resources: Resources) -> None:
    def find(job: wire.Job, method: ExplanationMethod | None) -> Heatmap | None:
        database, who = resources.database, g.principal
        return read(database, lambda sql: film_page.find_heatmap(sql, database.now, who, job, method))

    def render(job_id: str, method: ExplanationMethod | None, seen: str | None = None) -> Response:
        job = get_job(resources, g.principal, job_id)
        heatmap = find(job, method)
        if heatmap is None:
            raise NotFound("This job has no result yet, so it has no heatmap.")
        if seen == present_maps.seen_map(heatmap.shown):
            return Response(status=204)
        html = render_template("heatmap.html", job=job, heatmap=heatmap, csrf_token=generate_csrf())
        return Response(html, mimetype="text/html")

    def is_made(job_id: str, method: ExplanationMethod) -> bool:
        heatmap = find(get_job(resources, g.principal, job_id), method)
        return bool(heatmap and heatmap.shown and heatmap.shown.sha256 and not heatmap.shown.error)

    @pages.get("/jobs/<job_id>/heatmap", endpoint="heatmap")
    def get_heatmap(job_id: str) -> Response:
        query = parse_query(HeatmapQuery)
        return render(checked_id(job_id), query.map, query.seen)

    @pages.post("/jobs/<job_id>/explanations")
    def ask_for_map(job_id: str) -> ResponseReturnValue:
        method = parse_request().method
        if "show" not in request.args or not is_made(checked_id(job_id), method):
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
        if request.method == "HEAD":  # link scanners send HEAD, which must not use the link up
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
        return redirect(url_for("pages.left"), 303)

    @pages.get("/left")
    def left() -> str:
        return render_template("left.html")

    @pages.get("/favicon.ico")
    def favicon() -> Response:
        return current_app.send_static_file("favicon.svg")


def can_change() -> bool:
    """Whether the caller's key may change anything; pages hide controls that would only be refused."""
    return "principal" in g and g.principal.may(Right.CHANGE)


def can_operate() -> bool:
    """Whether the caller's key may see the operations page."""
    return "principal" in g and g.principal.may(Right.OPERATE)


def is_in_session() -> bool:
    """Whether the caller has a browser session that it can end; a program's key has none."""
    return "principal" in g and "key_id" in session


def is_signed_in(resources: Resources) -> bool:
    """Whether the browser has a valid session: then a used one-time link leads to the worklist instead of an error."""
    try:
        security.identify(resources)
    except NotAllowed:
        return False
    return True


def read_live_workers(resources: Resources, job: wire.Job) -> int:
    """Return how many living workers may take a job; 0 without a statement for one that has ended."""
    database = resources.database
    return 0 if job.done else read(database, lambda sql: worker_queries.count_live_workers(sql, database.now(sql)))


def list_errors() -> list[tuple[type[AppError], str]]:
    """Return every error class with its meaning: the first line of its docstring."""
    return [(error, (error.__doc__ or "").partition("\n")[0]) for error in all_errors()]
