"""`/api/v1/jobs/<id>/audit`: a job's audit events with their places in the chain. Parses and translates only."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Blueprint, Response, g

from shared.audit_wire import AuditQuery
from shared.wiring import Resources
from web import audit_trail
from web.parsing import checked_id, parse_query


def create_blueprint(resources: Resources) -> Blueprint:
    """Return the route over `resources`."""
    api = Blueprint("audit", __name__, url_prefix="/api/v1/jobs/<job_id>/audit")

    @api.get("")
    def get_trail(job_id: str) -> Response:
        query = parse_query(AuditQuery)
        trail = audit_trail.get_trail(resources, g.principal, checked_id(job_id), query)
        response = Response(trail.model_dump_json(), mimetype="application/json")
        if trail.next_cursor is not None:
            following = urlencode({"limit": query.limit, "cursor": trail.next_cursor})
            response.headers["Link"] = f'</api/v1/jobs/{job_id}/audit?{following}>; rel="next"'
        return response

    return api
