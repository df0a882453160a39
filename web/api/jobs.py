"""`/api/v1/jobs`: parses requests, calls use cases, translates their results. No decisions here."""

from __future__ import annotations

import hashlib
from urllib.parse import urlencode

from flask import Blueprint, Response, g, request

from shared import wire
from shared.db import queries
from shared.domain import Priority
from shared.errors import Malformed, TenantWaitersFull, UnsupportedFormat, WaitersFull
from shared.wiring import Resources
from web import again, content_digest, deletion, jobs, submit
from web.acceptance import Accepted
from web.backpressure import Backpressure
from web.bodies import FORM, BodyStream, contents
from web.deletion import dated
from web.intake import Intake
from web.offload import read
from web.parsing import checked_id, idempotency_key, parse_query
from web.waiting import LONGEST_WAIT_S, WaitingRoom, ask_again_in_s, get_job_when_done

RAW_TYPES = frozenset(
    {"image/png", "image/jpeg", "image/jpg", "image/pjpeg", "application/dicom", "application/octet-stream", ""}
)
"""Content types of a raw body; an absent one is accepted, since the decoder goes by the content."""

LIMIT = "waiting-films"
"""Name of our single RateLimit policy: it limits films in the queue, not requests per time window.

Headers as in draft-ietf-httpapi-ratelimit-headers-10."""

IDENTITY = "identity"

QUOTED_LENGTH = 64
"""How much of a name that a client sent an error quotes."""


def create_blueprint(resources: Resources, room: WaitingRoom, admission: Backpressure, intake: Intake) -> Blueprint:
    """Return the routes over `resources`.

    Args:
        room: where requests wait for their jobs.
        admission: limits how many films are in the queue.
        intake: limits how many films are read at a time.
    """
    api = Blueprint("jobs", __name__, url_prefix="/api/v1/jobs")

    @api.post("")
    def submit_job() -> Response:
        return answer_accepted(_receive(resources, intake, admission))

    @api.post("/<job_id>/again")
    def classify_again(job_id: str) -> Response:
        query = parse_query(wire.AgainQuery)
        wish = again.Wish(checked_id(job_id), query.priority, idempotency_key(), g.request_id, query.expires_in_s)
        return answer_accepted(again.classify_again(resources, admission, g.principal, wish))

    def answer_accepted(accepted: Accepted) -> Response:
        job, headers = _await(accepted)
        job = dated(resources.settings, job)
        return answer(job, 200 if job.done else 202, {"Location": job.links.self, **headers})

    def answer(job: wire.Job, status: int, headers: dict[str, str]) -> Response:
        return _job_response(job if job.done else admission.estimate(job), status, headers)

    def _await(accepted: Accepted) -> tuple[wire.Job, dict[str, str]]:
        """Return the job, after its end if the client prefers to wait, and the headers about that preference."""
        wait_s = wanted_wait_s()
        if wait_s is not None:
            try:
                return get_job_when_done(resources, room, g.principal, accepted, wait_s), _applied(wait_s)
            except (WaitersFull, TenantWaitersFull):
                pass  # the film is accepted all the same, and a server may ignore a preference
        return jobs.get_job(resources, g.principal, accepted.job_id), {}

    @api.get("/<job_id>")
    def get_job(job_id: str) -> Response:
        wait_s, accepted = wanted_wait_s(), Accepted(checked_id(job_id), is_new=False)
        if wait_s is None:
            job, headers = jobs.get_job(resources, g.principal, job_id), {}
        else:
            job, headers = get_job_when_done(resources, room, g.principal, accepted, wait_s), _applied(wait_s)
        job = dated(resources.settings, job)
        response = answer(job, 200, headers)
        response.set_etag(_etag(job), weak=True)
        response.make_conditional(request)
        return response

    _add_list(api, resources)
    _add_endings(api, resources)
    _add_limits(api, admission)
    return api


def _add_limits(api: Blueprint, admission: Backpressure) -> None:
    """Add the tenant's limit of waiting films, and how many more it may send, to answers to submissions."""

    @api.after_request
    def add_limits(response: Response) -> Response:
        if request.method == "POST" and response.status_code in {202, 429}:
            wait = response.headers.get("Retry-After") if response.status_code == 429 else None  # noqa: PLR2004
            left = admission.places_left(g.principal.tenant)
            response.headers["RateLimit-Policy"] = f'"{LIMIT}";q={admission.settings.tenant_queue_limit}'
            response.headers["RateLimit"] = f'"{LIMIT}";r={left}' + (f";t={wait}" if wait else "")
        return response


def _add_list(api: Blueprint, resources: Resources) -> None:
    @api.get("")
    def list_jobs() -> Response:
        query = parse_query(wire.ListQuery)
        tenant = g.principal.tenant
        page = read(resources.database, lambda sql: queries.list_jobs(sql, tenant, query))
        dated_page = page.model_copy(update={"jobs": [dated(resources.settings, job) for job in page.jobs]})
        response = Response(dated_page.model_dump_json(), mimetype="application/json")
        if page.next_cursor:
            following = query.model_copy(update={"cursor": page.next_cursor}).model_dump(mode="json", exclude_none=True)
            response.headers["Link"] = f'</api/v1/jobs?{urlencode(following)}>; rel="next"'
        return response


def _add_endings(api: Blueprint, resources: Resources) -> None:
    @api.post("/<job_id>/cancel")
    def cancel_job(job_id: str) -> Response:
        jobs.cancel(resources, g.principal, checked_id(job_id))
        return _job_response(dated(resources.settings, jobs.get_job(resources, g.principal, job_id)), 200, {})

    @api.delete("/<job_id>")
    def delete_job(job_id: str) -> Response:
        deletion.delete(resources, g.principal, checked_id(job_id))
        return Response(status=204)


def _receive(resources: Resources, intake: Intake, admission: Backpressure) -> Accepted:
    """Submit the request's film, and release its bytes before the client waits: many clients may wait at a time."""
    query = parse_query(wire.SubmitQuery)
    is_fresh = "no-cache" in request.cache_control
    key, digest = idempotency_key(), content_digest.of_body()
    who = g.principal
    check_head()
    with intake.seat(who.tenant, is_urgent=query.priority is Priority.STAT) as turn:
        with intake.reading(turn):
            data = read_upload()
        digest = content_digest.of_film(digest)
        upload = submit.Upload(
            data, query.priority, key, g.request_id, query.expires_in_s, is_fresh, digest, query.batch
        )
        accepted = submit.submit(resources, admission, who, upload)
        request.close()
    return accepted


def check_head() -> None:
    """Check what the headers tell, before the film waits for its turn to be read.

    Raises:
        Malformed: a form without a boundary.
        TooLarge: the promised length is too large.
        UnsupportedFormat: another content type, or a content encoding.
    """
    kind, coding = request.mimetype, request.headers.get("Content-Encoding", IDENTITY)
    if coding.strip().lower() != IDENTITY:
        raise UnsupportedFormat(f"Send the film without Content-Encoding (got: {coding[:QUOTED_LENGTH]}).")
    if kind == FORM and "boundary" not in request.mimetype_params:
        raise Malformed(f"Content-Type: {FORM} names no boundary; do not set this header, the HTTP client writes it.")
    if kind != FORM and kind not in RAW_TYPES:
        ways = f"or send the film as the part 'file' of a {FORM} form"
        raise UnsupportedFormat(
            f"Set Content-Type to image/png, image/jpeg or application/dicom (came: {kind[:QUOTED_LENGTH]}), {ways}."
        )
    _ = request.stream  # refuses the length


def read_upload() -> bytes:
    """Return the film's bytes: the raw body, or the part `file` of a multipart form.

    Raises:
        Malformed: no film, more than one, or a body that was cut short.
        TooLarge, TooSlow, UploadsFull: see `web/bodies.py`.
    """
    return _not_empty(_read_part() if request.mimetype == FORM else _read_body())


def _read_part() -> bytes:
    """Return the bytes of the part `file`, which must be the only one with a file name."""
    misplaced = sorted(wire.SubmitQuery.model_fields.keys() & request.form.keys())
    if misplaced:
        raise Malformed(f"'{misplaced[0]}' is a query parameter: POST /api/v1/jobs?{misplaced[0]}=…")
    names = [name for name, _ in request.files.items(multi=True)]
    if names == ["file"]:
        return contents(request.files["file"])
    if "file" in request.form and not names:
        raise Malformed("'file' was sent as a text field; send it as a file part with a filename.")
    received = ", ".join(repr(str(name)[:QUOTED_LENGTH]) for name in names) or "none"
    raise Malformed(f"The form must hold exactly one file part, named 'file' (came: {received}).")


def _read_body() -> bytes:
    stream = request.stream
    return stream.read_whole() if isinstance(stream, BodyStream) else stream.read()


def wanted_wait_s() -> int | None:
    """Return the seconds of `Prefer: wait=N` (RFC 7240), at most `LONGEST_WAIT_S`; None if absent or no number."""
    for preference in request.headers.get("Prefer", "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        digits = value.strip().strip('"')
        if name.strip().lower() == "wait":
            return min(int(digits[:6]), LONGEST_WAIT_S) if digits.isascii() and digits.isdigit() else None
    return None


def _job_response(job: wire.Job, status: int, headers: dict[str, str]) -> Response:
    response = Response(job.model_dump_json(), status, mimetype="application/json", headers=headers)
    if not job.done:
        response.headers["Retry-After"] = str(ask_again_in_s(job.eta_s or 0))
    return response


def _applied(wait_s: int) -> dict[str, str]:
    return {"Preference-Applied": f"wait={wait_s}"}


def _etag(job: wire.Job) -> str:
    """Return an ETag of the job without queue position and estimate, which change while the job does not."""
    text = job.model_copy(update={"queue_position": None, "eta_s": None}).model_dump_json()
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise Malformed("The file is empty.")
    return data
