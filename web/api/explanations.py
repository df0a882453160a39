"""`/api/v1/jobs/<id>/explanations`: request a map, list them, fetch one. Parses and translates only."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from shared import wire
from shared.db import explanation_queries
from shared.db.keys import Principal
from shared.domain import PIXEL_METHODS
from shared.errors import NotFound
from shared.imaging import stored
from shared.imaging.heatmap import heatmap_png, stretch
from shared.wiring import Resources
from web import explain, jobs
from web.api.films import png
from web.offload import draw, read
from web.parsing import checked_id, parse_form, parse_json

FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


def create_blueprint(resources: Resources) -> Blueprint:
    """Return the routes over `resources`."""
    api = Blueprint("explanations", __name__, url_prefix="/api/v1/jobs/<job_id>/explanations")

    @api.post("")
    def request_explanation(job_id: str) -> Response:
        method = parse_request().method
        explain.ask(resources, g.principal, checked_id(job_id), method, g.request_id)
        return _detail_response(explain.get_one(resources, g.principal, job_id, method))

    @api.get("")
    def list_explanations(job_id: str) -> Response:
        listed = explain.get_all(resources, g.principal, checked_id(job_id))
        is_done = all(each.done for each in listed.explanations)
        return _json_response(listed.model_dump_json(), 200, is_done=is_done)

    @api.get("/<method>.json")
    def get_explanation(job_id: str, method: str) -> Response:
        detail = explain.get_one(resources, g.principal, checked_id(job_id), method)
        return _json_response(detail.model_dump_json(), 200, is_done=detail.done)

    @api.get("/<method>.npy")
    def get_saliency(job_id: str, method: str) -> Response:
        return answer_map(checked_id(job_id), method, is_raw=True)

    @api.get("/<method>")
    def get_heatmap(job_id: str, method: str) -> Response:
        if "." in method:
            raise NotFound("An explanation comes as PNG (no suffix), as its raw map (`.npy`) or as JSON (`.json`).")
        return answer_map(checked_id(job_id), method, is_raw=False)

    def answer_map(job_id: str, method: str, *, is_raw: bool) -> Response:
        detail = explain.get_one(resources, g.principal, job_id, method)
        if detail.sha256 is None and detail.error is None:
            return _detail_response(detail)
        return _answer_map(resources, g.principal, job_id, detail, is_raw=is_raw)

    return api


def parse_request() -> wire.ExplanationRequest:
    """Return the request of a JSON body, or of a page's form.

    Raises:
        InvalidRequest: names the field that is wrong, and the known methods for an unknown one.
    """
    if request.mimetype in FORMS:
        return parse_form(wire.ExplanationRequest)
    return parse_json(wire.ExplanationRequest)


def _answer_map(
    resources: Resources, who: Principal, job_id: str, detail: wire.ExplanationDetail, *, is_raw: bool
) -> Response:
    """Return the heatmap as PNG, or the raw map.

    Raises:
        NotFound: the explanation failed; or a heatmap was requested and the map is degenerate.
    """
    if detail.sha256 is None:
        code = detail.error.code if detail.error else ""
        raise NotFound(f"This explanation failed ({code}), so there is no map; request it again to retry.")
    raw = read(resources.database, lambda sql: explanation_queries.get_map(sql, who.tenant, job_id, detail.method))
    if is_raw:
        return Response(raw, mimetype="application/octet-stream")
    if detail.is_degenerate:
        raise NotFound("This saliency map is constant or empty, so no heatmap is drawn; `.npy` has its values.")
    size = jobs.get_job(resources, who, job_id).input
    values = stored.saliency_from_bytes(raw)
    visible = stretch(values) if detail.method in PIXEL_METHODS else values
    return png(draw(lambda: heatmap_png(visible, size.width_px, size.height_px)))


def _detail_response(detail: wire.ExplanationDetail) -> Response:
    """Return 200 for a finished explanation, else 202; `Location` is where to poll, `Retry-After` when."""
    response = _json_response(detail.model_dump_json(), 200 if detail.done else 202, is_done=detail.done)
    response.headers["Location"] = f"{detail.href}.json"
    return response


def _json_response(text: str, status: int, *, is_done: bool) -> Response:
    response = Response(text, status, mimetype="application/json")
    if not is_done:
        response.headers["Retry-After"] = "1"
    return response
