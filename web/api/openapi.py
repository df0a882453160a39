"""The OpenAPI 3.1 document, made from the wire models; a contract test holds it against the routes."""

from __future__ import annotations

import functools
import json
import sys

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared import audit_wire, wire
from shared.errors import (
    BatchNotFound,
    BlobMissing,
    Conflict,
    DecodeLimit,
    DecoderBusy,
    DigestMismatch,
    Forbidden,
    IdempotencyMismatch,
    IllegalTransition,
    InvalidRequest,
    JobDeleted,
    NotFrontalFilm,
    QueueFull,
    StorageDown,
    StorageFull,
    TenantQueueFull,
    TenantWaitersFull,
    TooManyPixels,
    Unavailable,
    UnreadableImage,
    UnsupportedFormat,
    WaitersFull,
)
from shared.health_wire import Readiness
from web.api import openapi_explanations, openapi_webhooks
from web.api.openapi_parts import (
    AGAIN_UNLESS_DONE,
    BINARY,
    OF_BODY,
    OF_JOB,
    Json,
    bytes_of,
    json_of,
    make_binary,
    make_operation,
    make_parameter,
    make_problems,
    make_query,
    seconds_header,
    text_header,
)
from web.waiting import LONGEST_WAIT_S

MODELS: tuple[type[BaseModel], ...] = (
    wire.Job,
    wire.JobList,
    wire.Batch,
    wire.JobEvent,
    wire.ExplanationDetail,
    wire.ExplanationList,
    wire.ExplanationRequest,
    wire.Review,
    wire.ReviewList,
    wire.ReviewRequest,
    audit_wire.AuditTrail,
    wire.Problem,
    Readiness,
    *openapi_webhooks.MODELS,
)
EMPTY_DIGEST = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
"""The digest of zero bytes, as an example of the format."""
SHOWN_RAW_TYPES = ("application/octet-stream", "image/png", "image/jpeg", "application/dicom")
"""The first is what some clients always send; the decoder goes by a film's content."""
RECEIVER = "receiver"
TAGS = {
    "jobs": "films, their answers, pictures, explanations, reviews and audit trails",
    "batches": "films that are sent together",
    "webhooks": "addresses that are notified when jobs end",
    "service": "for operators",
    RECEIVER: "what webhook receivers are sent; clients do not need it",
}
OF_WAITING = (TenantWaitersFull, WaitersFull)
OF_ROOM = (TenantQueueFull, QueueFull, StorageFull, StorageDown)
OF_SUBMISSION = (
    *OF_BODY, *OF_ROOM, Forbidden, BatchNotFound, JobDeleted, UnsupportedFormat, DigestMismatch, UnreadableImage,
    TooManyPixels, NotFrontalFilm, DecodeLimit, DecoderBusy, IdempotencyMismatch, Unavailable,
)  # fmt: skip
OF_REPETITION = (*OF_JOB, *OF_ROOM, InvalidRequest, Forbidden, Conflict, IdempotencyMismatch, BlobMissing, Unavailable)
APPLIED = text_header("`wait=N`, if it was applied", is_sure=False)
NEXT = {"Link": text_header('the next page, `rel="next"`, where there is one', is_sure=False)}
UNCHANGED = {"description": "unchanged since the ETag in `If-None-Match`"}
LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
SUMMARY = (
    "Classifies chest X-rays asynchronously: submit a film, wait for its job, read the verdict and its saliency map. "
    "Research use; not a medical device."
)


@functools.cache
def build_document(version: str) -> Json:
    """Return the whole document, built at the first call.

    Args:
        version: of the package.
    """
    _, schemas = models_json_schema(
        [(model, "serialization") for model in MODELS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "plainfilm", "version": version, "description": SUMMARY, "license": LICENSE},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": meaning} for name, meaning in TAGS.items()],
        "paths": {path: _tagged(path, methods) for path, methods in _paths().items()},
        "webhooks": openapi_webhooks.build_webhooks(RECEIVER),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "an API key, `pf_…`"}},
            "schemas": schemas["$defs"],
        },
    }  # fmt: skip


def _tagged(path: str, methods: Json) -> Json:
    """Add the path's tag to each operation; generators of clients make a class or a file per tag."""
    part = path.removeprefix("/api/v1/").partition("/")[0].partition(".")[0]
    tag = part if part in TAGS else "service"
    return {method: {"tags": [tag], **operation} for method, operation in methods.items()}


def to_text() -> str:
    """Return the text of docs/openapi.json: without a version, so that it changes only with the API."""
    return json.dumps(build_document("unversioned"), indent=2, ensure_ascii=False) + "\n"


def _paths() -> Json:
    job_id = [make_parameter("job_id", "path", {"type": "string", "format": "uuid"}, "the job's id")]
    max_side = [*job_id, *make_query(wire.FilmSizeQuery)]
    return {
        "/api/v1/jobs": {
            "post": _submit(),
            "get": _list_jobs(),
        },
        "/api/v1/jobs.csv": {"get": _export()},
        "/api/v1/jobs/{job_id}": {"get": _get_job(job_id), "delete": _delete_job(job_id)},
        "/api/v1/jobs/{job_id}/events": {"get": _follow_job(job_id)},
        "/api/v1/jobs/{job_id}/cancel": {
            "post": make_operation("cancelJob", "Cancel a job", "Job", job_id,
                                   [Forbidden, *OF_JOB, IllegalTransition, StorageFull])
        },
        "/api/v1/jobs/{job_id}/again": {"post": _classify_again(job_id)},
        "/api/v1/jobs/{job_id}/film": {"get": make_binary("getFilm", "The film as PNG", max_side, ["image/png"],
                                                        [InvalidRequest, *OF_JOB, BlobMissing, StorageDown])},
        **openapi_explanations.build_paths(job_id),
        "/api/v1/jobs/{job_id}/reviews": {
            "post": _review(job_id),
            "get": make_operation("listReviews", "List the reviews of a job's film", "ReviewList", job_id, OF_JOB),
        },
        "/api/v1/jobs/{job_id}/audit": {"get": _get_audit(job_id)},
        **_batches(),
        **openapi_webhooks.build_paths(),
        "/livez": {"get": _open("livez", "This process serves", {"text/plain": {"schema": {"type": "string"}}})},
        "/readyz": {"get": _open("readyz", "Database, schema, broker, workers", json_of("Readiness"), not_ready=True)},
        "/metrics": {"get": _metrics()},
    }  # fmt: skip


def _list_jobs() -> Json:
    words = "List jobs, newest first"
    operation = make_operation("listJobs", words, "JobList", make_query(wire.ListQuery), [InvalidRequest])
    operation["responses"]["200"]["headers"] = NEXT
    return operation


def _submit() -> Json:
    form = {"type": "object", "required": ["file"], "properties": {"file": BINARY}}
    key = make_parameter("Idempotency-Key", "header", {"type": "string", "minLength": 1, "maxLength": 128},
                     "the same key and film return the same job; with another film: 422", required=False)  # fmt: skip
    fresh = make_parameter("Cache-Control", "header", {"type": "string", "examples": ["no-cache"]},
                       "`no-cache`: a worker computes the result, even if one is stored for the same film and model",
                       required=False)  # fmt: skip
    digest = make_parameter("Content-Digest", "header", {"type": "string", "examples": [EMPTY_DIGEST]},
                        "RFC 9530, of the whole body: 422 if its SHA-256 does not match; the film's part of a form may "
                        "carry its own; other algorithms are ignored",
                        required=False)  # fmt: skip
    parameters = [*make_query(wire.SubmitQuery), key, _prefer(), fresh, digest, _traced()]
    operation = make_operation("submitJob", "Submit a film", "Job", parameters, OF_SUBMISSION)
    operation["requestBody"] = {
        "required": True,
        "content": bytes_of(SHOWN_RAW_TYPES) | {"multipart/form-data": {"schema": form}},
    }
    return _accepting(operation)


def _classify_again(parameters: list[Json]) -> Json:
    key = make_parameter("Idempotency-Key", "header", {"type": "string", "minLength": 1, "maxLength": 128},
                     "the same key returns the same new job; used for another job: 422", required=False)  # fmt: skip
    words = "Classify the film of an ended job again, in a new job that a worker always computes"
    every = [*parameters, *make_query(wire.AgainQuery), key, _prefer(), _traced()]
    return _accepting(make_operation("classifyAgain", words, "Job", every, OF_REPETITION))


def _accepting(operation: Json) -> Json:
    """Add the responses of an operation that makes a job: 202, or 200 if the job has ended already."""
    location = text_header("the job")
    later = seconds_header("until polling makes sense")
    limits = {
        "RateLimit-Policy": text_header("`q`: how many films your tenant may have waiting"),
        "RateLimit": text_header("`r`: how many more, approximately; `t` of a 429: seconds until there may be room"),
    }
    operation["responses"]["202"] = {
        "description": "accepted; the job has not ended",
        "content": json_of("Job"),
        "headers": {"Location": location, "Retry-After": later, "Preference-Applied": APPLIED, **limits},
    }
    operation["responses"]["429"]["headers"] |= limits
    operation["responses"]["200"] |= {
        "description": "accepted, and the job has ended",
        "headers": {"Location": location, "Preference-Applied": APPLIED},
    }
    return operation


def _batches() -> Json:
    batch_id = [make_parameter("batch_id", "path", {"type": "string", "format": "uuid"}, "the batch's id")]
    key = make_parameter("Idempotency-Key", "header", {"type": "string", "minLength": 1, "maxLength": 128},
                     "the same key answers the same batch", required=False)  # fmt: skip
    words = "Make an empty batch; send its films as jobs, one a request, each naming it"
    create = make_operation(
        "createBatch", words, "Batch", [key], [InvalidRequest, Forbidden, UnsupportedFormat, StorageFull]
    )
    create["responses"]["201"] = create["responses"].pop("200") | {"headers": {"Location": text_header("the batch")}}
    words = "Get the status of a batch"
    look = make_operation("getBatch", words, "Batch", [*batch_id, _known()], [BatchNotFound])
    headers = {"ETag": text_header("of its counts"), "Retry-After": AGAIN_UNLESS_DONE}
    look["responses"]["200"]["headers"] = headers
    look["responses"]["304"] = UNCHANGED | {"headers": headers}
    words = "Cancel all jobs of a batch that have not ended; films sent into it meanwhile may continue"
    cancel = make_operation("cancelBatch", words, "Batch", batch_id, [Forbidden, BatchNotFound, StorageFull])
    return {
        "/api/v1/batches": {"post": create},
        "/api/v1/batches/{batch_id}": {"get": look},
        "/api/v1/batches/{batch_id}/cancel": {"post": cancel},
    }


def _known() -> Json:
    return make_parameter("If-None-Match", "header", {"type": "string"},
                      "the ETag of a known answer: 304 where nothing has changed", required=False)  # fmt: skip


def _prefer() -> Json:
    return make_parameter("Prefer", "header", {"type": "string", "examples": ["wait=20"]},
                      f"`wait=N` (RFC 7240): respond when the job has ended, or after N seconds, {LONGEST_WAIT_S} at "
                      "most; `Preference-Applied` says what was applied", required=False)  # fmt: skip


def _traced() -> Json:
    return make_parameter("traceparent", "header", {"type": "string"},
                      "W3C Trace Context, version 00: its trace id is in the log lines of web server and worker, and "
                      "in `X-Request-Id` unless the client names the request itself; anything else is ignored",
                      required=False)  # fmt: skip


def _follow_job(parameters: list[Json]) -> Json:
    """Return the operation of the event stream; each event's `data` is a `JobEvent`."""
    last = make_parameter("Last-Event-ID", "header", {"type": "string", "pattern": "^[0-9]{0,18}$"},
                      "go on after the event with this `id`", required=False)  # fmt: skip
    words = "The job's events as they happen, as server-sent events"
    operation = make_operation("followJob", words, "JobEvent", [*parameters, last],
                               [InvalidRequest, *OF_JOB, *OF_WAITING])  # fmt: skip
    operation["responses"]["200"] = {
        "description": "from the first one, or after `Last-Event-ID`. Type `status`, at last `done`; `data` is a "
        "JobEvent. A comment comes every 15 s; the stream ends after `done`, and after ten minutes",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    operation["responses"]["204"] = {"description": "the job has ended, and its last event was seen"}
    return operation


def _review(parameters: list[Json]) -> Json:
    words = "Review a classified film, replacing your earlier review of it; for reviewers and admins"
    operation = make_operation(
        "reviewJob", words, "Review", parameters, [*OF_BODY, Forbidden, *OF_JOB, Conflict, StorageFull]
    )
    schema = {"schema": {"$ref": "#/components/schemas/ReviewRequest"}}
    operation["requestBody"] = {"required": True, "content": {"application/json": schema}}
    return operation


def _get_audit(parameters: list[Json]) -> Json:
    words = (
        "Get the audit trail of a job, oldest event first; for its sender, and for admins and auditors, who can also "
        "read those of deleted jobs"
    )
    every = [*parameters, *make_query(audit_wire.AuditQuery)]
    operation = make_operation("getAudit", words, "AuditTrail", every, [InvalidRequest, Forbidden, *OF_JOB])
    operation["responses"]["200"]["headers"] = NEXT
    return operation


def _get_job(parameters: list[Json]) -> Json:
    operation = make_operation("getJob", "One job with its result", "Job", [*parameters, _prefer(), _known()],
                               [*OF_JOB, *OF_WAITING])  # fmt: skip
    headers = {
        "ETag": text_header("of the job's state"),
        "Retry-After": AGAIN_UNLESS_DONE,
        "Preference-Applied": APPLIED,
    }
    operation["responses"]["200"]["headers"] = headers
    operation["responses"]["304"] = UNCHANGED | {"headers": headers}
    return operation


def _export() -> Json:
    operation = make_operation("exportJobs", "Export all matching jobs as CSV, newest first, one line per job", "Job",
                           make_query(wire.ExportQuery), [InvalidRequest])  # fmt: skip
    operation["responses"]["200"]["content"] = {"text/csv": {"schema": {"type": "string"}}}
    operation["responses"]["200"]["headers"] = {"Content-Disposition": text_header("a name for the file")}
    return operation


def _delete_job(parameters: list[Json]) -> Json:
    words = "Delete a job permanently, with its film, result and maps; a job that has not ended is cancelled first"
    operation = make_operation("deleteJob", words, "Job", parameters, [Forbidden, *OF_JOB, StorageDown, StorageFull])
    del operation["responses"]["200"]
    operation["responses"]["204"] = {"description": "it is deleted; who asks for it from now on is answered 410"}
    return operation


def _metrics() -> Json:
    responses = {"200": {"description": "gauges", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    summary = "What an operator scales by, in Prometheus' text format; for admins and auditors"
    return {"operationId": "getMetrics", "summary": summary, "responses": responses | make_problems([Forbidden])}


def _open(name: str, summary: str, content: Json, *, not_ready: bool = False) -> Json:
    responses: Json = {"200": {"description": summary, "content": content}}
    if not_ready:
        responses["503"] = {"description": "not ready", "content": content}
    return {"operationId": name, "summary": summary, "security": [], "responses": responses}


if __name__ == "__main__":
    sys.stdout.write(to_text())
