"""`/api/v1/jobs/<id>/explanations`: ask for a map, list them, fetch one. Parses and translates; decides nothing."""

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
from web import explain, submit
from web.api.films import png
from web.offload import draw, read
from web.parsing import checked_id, parse_form, parse_json

FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


def create_blueprint(resources: Resources) -> Blueprint:
    """The routes over `resources`."""
    api = Blueprint("explanations", __name__, url_prefix="/api/v1/jobs/<job_id>/explanations")

    @api.post("")
    def request_explanation(job_id: str) -> Response:
        method = parse_request().method
        explain.ask(resources, g.principal, checked_id(job_id), method, g.request_id)
        return _detail_response(explain.get_one(resources, g.principal, job_id, method))

    @api.get("")
    def list_explanations(job_id: str) -> Response:
        found = explain.get_all(resources, g.principal, checked_id(job_id))
        is_done = all(each.done for each in found.explanations)
        return _json_response(found.model_dump_json(), 200, is_done=is_done)

    @api.get("/<method>.json")
    def get_explanation(job_id: str, method: str) -> Response:
        found = explain.get_one(resources, g.principal, checked_id(job_id), method)
        return _json_response(found.model_dump_json(), 200, is_done=found.done)

    @api.get("/<method>.npy")
    def get_saliency(job_id: str, method: str) -> Response:
        return answer_map(checked_id(job_id), method, is_raw=True)

    @api.get("/<method>")
    def get_heatmap(job_id: str, method: str) -> Response:
        if "." in method:
            raise NotFound("An explanation is a PNG, or with `.npy` its raw map, or with `.json` what is known of it.")
        return answer_map(checked_id(job_id), method, is_raw=False)

    def answer_map(job_id: str, method: str, *, is_raw: bool) -> Response:
        found = explain.get_one(resources, g.principal, job_id, method)
        if found.sha256 is None and found.error is None:
            return _detail_response(found)
        return _answer_map(resources, g.principal, job_id, found, is_raw=is_raw)

    return api


def parse_request() -> wire.ExplanationRequest:
    """The JSON body, or the form without a page's CSRF token, as a request.

    Raises:
        InvalidRequest: names what is wrong; the methods, where there is no such one.
    """
    if request.mimetype in FORMS:
        return parse_form(wire.ExplanationRequest)
    return parse_json(wire.ExplanationRequest)


def _answer_map(
    resources: Resources, who: Principal, job_id: str, found: wire.ExplanationDetail, *, is_raw: bool
) -> Response:
    """The overlay, or the raw map.

    Raises:
        NotFound: the explanation failed, or its map says nothing and a picture was asked for.
    """
    if found.sha256 is None:
        code = found.error.code if found.error else ""
        raise NotFound(f"This explanation failed ({code}), so there is no map; ask for it again to try again.")
    raw = read(resources.database, lambda sql: explanation_queries.get_map(sql, who.tenant, job_id, found.method))
    if is_raw:
        return Response(raw, mimetype="application/octet-stream")
    if found.is_degenerate:
        raise NotFound("This saliency map says nothing, so no heatmap is drawn; `.npy` has its values.")
    size = submit.get_job(resources, who, job_id).input
    values = stored.saliency_from_bytes(raw)
    seen = stretch(values) if found.method in PIXEL_METHODS else values
    return png(draw(lambda: heatmap_png(seen, size.width_px, size.height_px)))


def _detail_response(found: wire.ExplanationDetail) -> Response:
    """200 where it is over, else 202 with where and when to look."""
    response = _json_response(found.model_dump_json(), 200 if found.done else 202, is_done=found.done)
    response.headers["Location"] = f"{found.href}.json"
    return response


def _json_response(text: str, status: int, *, is_done: bool) -> Response:
    response = Response(text, status, mimetype="application/json")
    if not is_done:
        response.headers["Retry-After"] = "1"
    return response
