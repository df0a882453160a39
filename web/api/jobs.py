"""`/api/v1/jobs`: parse the request, call the use case, translate the answer. No decisions here."""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import urlencode

from flask import Blueprint, Response, g, request

from shared import wire
from shared.db import queries
from shared.errors import InvalidRequest, Malformed, TenantWaitersFull, UnsupportedFormat, WaitersFull
from shared.wiring import Resources
from web import deletion, submit
from web.backpressure import Backpressure
from web.bodies import BodyStream, contents
from web.offload import read
from web.parsing import checked_id, idempotency_key, parse_query
from web.waiting import LONGEST_WAIT_S, WaitingRoom, get_job_when_done

RAW_TYPES = frozenset(
    {"image/png", "image/jpeg", "image/jpg", "image/pjpeg", "application/dicom", "application/octet-stream", ""}
)
"""Content types of a raw body, none among them; the decoder goes by the content."""

FORM = "multipart/form-data"
TOLD_CHARACTERS = 64
"""So much of a name that came is told back."""

DIGEST = re.compile(r"([a-z*][a-z0-9_.*-]*)=:((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?):(?:;.*)?")
"""A member of `Content-Digest`: algorithm and base64, as RFC 8941 writes a byte sequence."""

SHA256_BYTES = 32


def create_blueprint(resources: Resources, room: WaitingRoom) -> Blueprint:
    """The routes over `resources`; who waits sits in `room`."""
    api = Blueprint("jobs", __name__, url_prefix="/api/v1/jobs")
    gate = Backpressure(resources.database, resources.settings)

    @api.post("")
    def submit_job() -> Response:
        job, headers = _await(_receive(resources, gate))
        return answer(job, 200 if job.done else 202, {"Location": job.links.self, **headers})

    def answer(job: wire.Job, status: int, headers: dict[str, str]) -> Response:
        return _job_response(job if job.done else gate.estimate(job), status, headers)

    def _await(receipt: submit.Receipt) -> tuple[wire.Job, dict[str, str]]:
        """The job, once it has ended where the client prefers so, and what is said of that preference."""
        wait_s = wanted_wait_s()
        if wait_s is not None:
            try:
                return get_job_when_done(resources, room, g.principal, receipt, wait_s), _applied(wait_s)
            except (WaitersFull, TenantWaitersFull):
                pass  # it is accepted all the same, and a preference may go unheeded
        return submit.get_job(resources, g.principal, receipt.job_id), {}

    @api.get("")
    def list_jobs() -> Response:
        query = parse_query(wire.ListQuery)
        tenant = g.principal.tenant
        page = read(resources.database, lambda sql: queries.list_jobs(sql, tenant, query))
        response = Response(page.model_dump_json(), mimetype="application/json")
        if page.next_cursor:
            following = query.model_copy(update={"cursor": page.next_cursor}).model_dump(mode="json", exclude_none=True)
            response.headers["Link"] = f'</api/v1/jobs?{urlencode(following)}>; rel="next"'
        return response

    @api.get("/<job_id>")
    def get_job(job_id: str) -> Response:
        wait_s, receipt = wanted_wait_s(), submit.Receipt(checked_id(job_id), is_new=False)
        if wait_s is None:
            job, headers = submit.get_job(resources, g.principal, job_id), {}
        else:
            job, headers = get_job_when_done(resources, room, g.principal, receipt, wait_s), _applied(wait_s)
        response = answer(job, 200, headers)
        response.set_etag(_etag(job), weak=True)
        response.make_conditional(request)
        return response

    _add_endings(api, resources)
    return api


def _add_endings(api: Blueprint, resources: Resources) -> None:
    @api.post("/<job_id>/cancel")
    def cancel_job(job_id: str) -> Response:
        submit.cancel(resources, g.principal, checked_id(job_id))
        return _job_response(submit.get_job(resources, g.principal, job_id), 200, {})

    @api.delete("/<job_id>")
    def delete_job(job_id: str) -> Response:
        deletion.delete(resources, g.principal, checked_id(job_id))
        return Response(status=204)


def _receive(resources: Resources, gate: Backpressure) -> submit.Receipt:
    """The film is let go of, with its room in the budget, before its client waits: many wait at a time."""
    query = parse_query(wire.SubmitQuery)
    is_fresh = "no-cache" in request.cache_control
    key, digest = idempotency_key(), _promised_sha256()
    upload = submit.Upload(
        read_upload(), query.priority, key, g.request_id, query.expires_in_s, is_fresh, digest, query.batch
    )
    receipt = submit.submit(resources, gate, g.principal, upload)
    request.close()
    return receipt


def read_upload() -> bytes:
    """The film's bytes: the raw body, or the one part `file` of a multipart form.

    Raises:
        Malformed: no film, more than one, or not all of it.
        TooLarge, TooSlow, UploadsFull: as `web/bodies.py` says.
        UnsupportedFormat: neither form.
    """
    kind = request.mimetype
    if kind == FORM:
        return _not_empty(_read_part())
    if kind not in RAW_TYPES:
        ways = f"or send the film as the part 'file' of a {FORM} form"
        raise UnsupportedFormat(
            f"Set Content-Type to image/png, image/jpeg or application/dicom (came: {kind[:TOLD_CHARACTERS]}), {ways}."
        )
    return _not_empty(_read_body())


def _read_part() -> bytes:
    """The part `file`, the only one that has a file name."""
    names = [name for name, _ in request.files.items(multi=True)]
    if names == ["file"]:
        return contents(request.files["file"])
    if "file" in request.form and not names:
        raise Malformed("'file' came as text; send it as a file part with a filename.")
    came = ", ".join(repr(str(name)[:TOLD_CHARACTERS]) for name in names) or "none"
    raise Malformed(f"The form must hold exactly one file part, named 'file' (came: {came}).")


def _read_body() -> bytes:
    stream = request.stream
    return stream.read_whole() if isinstance(stream, BodyStream) else stream.read()


def wanted_wait_s() -> int | None:
    """Seconds of `Prefer: wait=N` (RFC 7240), at most `LONGEST_WAIT_S`; None where it is absent or no number."""
    for preference in request.headers.get("Prefer", "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        digits = value.strip().strip('"')
        if name.strip().lower() == "wait":
            return min(int(digits[:6]), LONGEST_WAIT_S) if digits.isascii() and digits.isdigit() else None
    return None


def _job_response(job: wire.Job, status: int, headers: dict[str, str]) -> Response:
    response = Response(job.model_dump_json(), status, mimetype="application/json", headers=headers)
    if not job.done:  # half of what is left, so that nobody comes much too late
        response.headers["Retry-After"] = str(min(LONGEST_WAIT_S, max(1, (job.eta_s or 0) // 2)))
    return response


def _applied(wait_s: int) -> dict[str, str]:
    return {"Preference-Applied": f"wait={wait_s}"}


def _etag(job: wire.Job) -> str:
    """Of the state, not of the queue position and what is made of it, which move without the job changing."""
    text = job.model_copy(update={"queue_position": None, "eta_s": None}).model_dump_json()
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _promised_sha256() -> str | None:
    """SHA-256 of a raw body as `Content-Digest` (RFC 9530) has it, in hex; other algorithms are passed over.

    Raises:
        InvalidRequest: the header is not of its form.
    """
    given = request.headers.get("Content-Digest")
    if not given or request.mimetype == FORM:
        return None
    members = [DIGEST.fullmatch(member.strip()) for member in given.split(",")]
    digests = {found[1]: base64.b64decode(found[2]) for found in members if found}
    promised = digests.get("sha-256")
    if not all(members) or (promised is not None and len(promised) != SHA256_BYTES):
        raise InvalidRequest("Content-Digest must be like `sha-256=:<32 bytes in base64>:`.")
    return None if promised is None else promised.hex()


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise Malformed("The file is empty.")
    return data
