"""HTML for people: film page, problems, the way in. Each route parses, reads and renders.

Changes go through `/api/v1`, from the page's own scripts; a map is asked for, and a film reviewed or deleted, by forms,
which work without them. By htmx the film page asks again for its heatmap, every second, and for its findings, at each
event of the job, or every second where events do not come.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, current_app, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import generate_csrf
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from shared import wire
from shared.db import explanation_queries, jobs, model_queries, worker_queries
from shared.db.keys import Principal
from shared.db.leases import POISONED
from shared.domain import ExplanationMethod
from shared.errors import AppError, NotAllowed, NotFound, all_errors
from shared.manifest import ModelManifest
from shared.rights import Right
from shared.wiring import Resources
from web import (
    again,
    deletion,
    explain,
    history,
    model_page,
    present,
    present_charts,
    present_history,
    present_maps,
    present_report,
    present_reviews,
    review,
    security,
    submit,
    worklist_page,
)
from web.api.explanations import parse_request
from web.backpressure import Backpressure
from web.offload import read, read_row
from web.parsing import checked_id, parse_form, parse_query


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


SAID_BY = (present, present_charts, present_history, present_maps, present_report, present_reviews)


def create_blueprint(resources: Resources, gate: Backpressure) -> Blueprint:
    """The routes over `resources`; `gate` knows how long films wait."""
    pages = Blueprint("pages", __name__)
    for module in SAID_BY:
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
    _add_film(pages, resources, gate)
    _add_heatmap(pages, resources)
    _add_open_pages(pages, resources)
    model_page.add_routes(pages, resources)
    return pages


def _add_film(pages: Blueprint, resources: Resources, gate: Backpressure) -> None:
    def get(job_id: str) -> wire.Job:
        job = submit.get_job(resources, g.principal, checked_id(job_id))
        return job if job.done else gate.estimate(job)

    def render(template: str, job: wire.Job, method: ExplanationMethod | None, live_workers: int) -> str:
        return render_template(
            template,
            job=job,
            heatmap=read_heatmap(resources, g.principal, job, method),
            manifest=read_manifest(resources, job),
            live_workers=live_workers,
            opinions=review.find_opinions(resources, g.principal, job),
            history=history.find_history(resources, g.principal, job),
            outlook=again.get_outlook(resources, g.principal, job),
            again_key=resources.new_id(),
            may_delete=deletion.may_delete(resources, g.principal, job.id),
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
        if not job.done and seen.startswith(present.mark_state(job)):  # what is unfolded around it stays so
            return render_template("waiting.html", job=job, live_workers=workers)
        return render("findings.html", job, None, workers), {"HX-Retarget": "#findings"}

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
        return redirect(url_for("pages.left"), 303)

    @pages.get("/left")
    def left() -> str:
        return render_template("left.html")

    @pages.get("/favicon.ico")
    def favicon() -> Response:
        return current_app.send_static_file("favicon.svg")


def can_change() -> bool:
    """True where the caller's key may do more than look; controls that would only be refused are left out."""
    return "principal" in g and g.principal.may(Right.CHANGE)


def can_operate() -> bool:
    """True where the caller's key may see how the whole service does."""
    return "principal" in g and g.principal.may(Right.OPERATE)


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
    return read_row(resources.database, lambda sql: model_queries.find_manifest(sql, sha256))


def read_live_workers(resources: Resources, job: wire.Job) -> int:
    """How many workers may take a job that is not done; not asked for one that is."""
    database = resources.database
    return 0 if job.done else read(database, lambda sql: worker_queries.count_live_workers(sql, database.now(sql)))


def list_errors() -> list[tuple[type[AppError], str]]:
    """Every error with what it means: the first line of its docstring."""
    return [(error, (error.__doc__ or "").partition("\n")[0]) for error in all_errors()]
