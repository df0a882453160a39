"""`/api/v1/jobs/<id>/reviews`: review a film, or list its reviews. Parses and translates only."""

from __future__ import annotations

from flask import Blueprint, Response, g

from shared import wire
from shared.wiring import Resources
from web import review
from web.parsing import checked_id, parse_json


def create_blueprint(resources: Resources) -> Blueprint:
    """Return the routes over `resources`."""
    api = Blueprint("reviews", __name__, url_prefix="/api/v1/jobs/<job_id>/reviews")

    @api.post("")
    def review_job(job_id: str) -> Response:
        label = parse_json(wire.ReviewRequest).label
        stored = review.review(resources, g.principal, checked_id(job_id), label)
        return Response(stored.model_dump_json(), mimetype="application/json")

    @api.get("")
    def list_reviews(job_id: str) -> Response:
        listed = review.get_all(resources, g.principal, checked_id(job_id))
        return Response(listed.model_dump_json(), mimetype="application/json")

    return api
