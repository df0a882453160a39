"""`/api/v1/jobs/<id>/events`: a job's events as `text/event-stream`, resumed by `Last-Event-ID`."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from shared.errors import InvalidRequest
from shared.wiring import Resources
from web import events
from web.parsing import checked_id
from web.waiting import WaitingRoom

MOST_DIGITS = 18
"""Of an event's number: more is no number that a 64-bit column holds."""


def create_blueprint(resources: Resources, room: WaitingRoom) -> Blueprint:
    """The route over `resources`; who listens sits in `room`."""
    api = Blueprint("events", __name__, url_prefix="/api/v1/jobs")

    @api.get("/<job_id>/events")
    def follow_job(job_id: str) -> Response:
        stream = events.follow(resources, room, g.principal, checked_id(job_id), last_event_id())
        if stream is None:
            return Response(status=204)  # by the standard, a browser's EventSource then connects no more
        if request.method == "HEAD":
            stream.close()  # nobody would read it
            return Response(mimetype="text/event-stream")
        return Response(stream, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})

    return api


def last_event_id() -> int:
    """The number of the last event that the client has seen; 0 where it says none.

    Raises:
        InvalidRequest: what it says is no such number.
    """
    given = request.headers.get("Last-Event-ID", "")
    if not given:
        return 0
    if not (given.isascii() and given.isdigit()) or len(given) > MOST_DIGITS:
        told = "must be the `id` of an event of this stream, a whole number"
        raise InvalidRequest(f"Last-Event-ID {told}.", [("Last-Event-ID", told)])
    return int(given)
