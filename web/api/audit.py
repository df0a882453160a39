"""`/api/v1/jobs/<id>/audit`: what happened to a job, as it is chained. Parses and translates alone."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Blueprint, Response, g

from shared.audit_wire import AuditQuery
from shared.wiring import Resources
from web import history
from web.parsing import checked_id, parse_query


def create_blueprint(resources: Resources) -> Blueprint:
    """The route over `resources`."""
    api = Blueprint("audit", __name__, url_prefix="/api/v1/jobs/<job_id>/audit")

    @api.get("")
    def get_trail(job_id: str) -> Response:
        query = parse_query(AuditQuery)
        found = history.get_trail(resources, g.principal, checked_id(job_id), query)
        response = Response(found.model_dump_json(), mimetype="application/json")
        if found.next_cursor is not None:
            following = urlencode({"limit": query.limit, "cursor": found.next_cursor})
            response.headers["Link"] = f'</api/v1/jobs/{job_id}/audit?{following}>; rel="next"'
        return response

    return api
