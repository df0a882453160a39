"""`/api/v1/jobs/<id>/events`: a job's events as `text/event-stream`, resumed by `Last-Event-ID`."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from shared.errors import InvalidRequest
from shared.wiring import Resources
from web import events
from web.parsing import checked_id
from web.waiting import WaitingRoom

MOST_DIGITS = 18
"""Most digits of an event's number that fit a 64-bit column."""


def create_blueprint(resources: Resources, room: WaitingRoom) -> Blueprint:
    """Return the route over `resources`; streams wait for events in `room`."""
    api = Blueprint("events", __name__, url_prefix="/api/v1/jobs")

    @api.get("/<job_id>/events")
    def follow_job(job_id: str) -> Response:
        stream = events.follow(resources, room, g.principal, checked_id(job_id), last_event_id())
        if stream is None:
            return Response(status=204)  # a browser's EventSource then stops reconnecting
        if request.method == "HEAD":
            stream.close()  # a HEAD has no body
            return Response(mimetype="text/event-stream")
        return Response(stream, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})

    return api


def last_event_id() -> int:
    """Return the number of the last event that the client has seen; 0 without one.

    Raises:
        InvalidRequest: the header is no such number.
    """
    digits = request.headers.get("Last-Event-ID", "")
    if not digits:
        return 0
    if not (digits.isascii() and digits.isdigit()) or len(digits) > MOST_DIGITS:
        rule = "must be the `id` of an event of this stream, a whole number"
        raise InvalidRequest(f"Last-Event-ID {rule}.", [("Last-Event-ID", rule)])
    return int(digits)
