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
    NotExplainable,
    NotFound,
    NotFrontalFilm,
    QueueFull,
    StorageDown,
    StorageFull,
    TenantQueueFull,
    TenantWaitersFull,
    TooManyPixels,
    UnreadableImage,
    UnsupportedFormat,
    WaitersFull,
)
from web.api import openapi_webhooks
from web.api.openapi_parts import (
    BINARY,
    OF_BODY,
    OF_JOB,
    Json,
    Problems,
    bytes_of,
    json_of,
    make_operation,
    make_parameter,
    make_problems,
    make_query,
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
    wire.Readiness,
    *openapi_webhooks.MODELS,
)
EMPTY_DIGEST = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
"""Of no bytes: an example of the form."""
SHOWN_RAW_TYPES = ("image/png", "image/jpeg", "application/dicom", "application/octet-stream")
OF_WAITING = (TenantWaitersFull, WaitersFull)
OF_ROOM = (TenantQueueFull, QueueFull, StorageFull, StorageDown)
OF_SUBMISSION = (
    *OF_BODY, *OF_ROOM, Forbidden, BatchNotFound, JobDeleted, UnsupportedFormat, DigestMismatch, UnreadableImage,
    TooManyPixels, NotFrontalFilm, DecodeLimit, DecoderBusy, IdempotencyMismatch,
)  # fmt: skip
OF_REPETITION = (*OF_JOB, *OF_ROOM, InvalidRequest, Forbidden, Conflict, IdempotencyMismatch, BlobMissing)
LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
SUMMARY = (
    "Classifies chest X-rays asynchronously: submit a film, wait for its job, read the verdict and its saliency map. "
    "Research use; not a medical device."
)


@functools.cache
def build_document(version: str) -> Json:
    """The whole document, built when it is first asked for.

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
        "paths": _paths(),
        "webhooks": openapi_webhooks.build_webhooks(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "an API key, `pf_…`"}},
            "schemas": schemas["$defs"],
        },
    }  # fmt: skip


def to_text() -> str:
    """As docs/openapi.json has it: in an order that stays, of no version, so that it changes with the API alone."""
    return json.dumps(build_document("unversioned"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _paths() -> Json:
    job_id = [make_parameter("job_id", "path", {"type": "string", "format": "uuid"}, "the job's id")]
    names = {"type": "string", "examples": ["grad_cam", "grad_cam.npy", "grad_cam.json"]}
    method = [*job_id, make_parameter("method", "path", names,
                                  "saliency method: heatmap; `.npy`: the raw map; `.json`: its numbers")]  # fmt: skip
    max_side = [*job_id, make_parameter("max_side", "query", {"type": "integer", "minimum": 16, "maximum": 4096},
                                    "longest side of the PNG in pixels", required=False)]  # fmt: skip
    return {
        "/api/v1/jobs": {
            "post": _submit(),
            "get": make_operation("listJobs", "List jobs, newest first", "JobList", make_query(wire.ListQuery),
                                  [InvalidRequest]),
        },
        "/api/v1/jobs.csv": {"get": _export()},
        "/api/v1/jobs/{job_id}": {"get": _get_job(job_id), "delete": _delete_job(job_id)},
        "/api/v1/jobs/{job_id}/events": {"get": _follow_job(job_id)},
        "/api/v1/jobs/{job_id}/cancel": {
            "post": make_operation("cancelJob", "Cancel a job", "Job", job_id,
                                   [Forbidden, *OF_JOB, IllegalTransition, StorageFull])
        },
        "/api/v1/jobs/{job_id}/again": {"post": _classify_again(job_id)},
        "/api/v1/jobs/{job_id}/film": {"get": _binary("getFilm", "The film as PNG", max_side, ["image/png"],
                                                        [InvalidRequest, *OF_JOB, BlobMissing, StorageDown])},
        "/api/v1/jobs/{job_id}/explanations": {
            "post": _request_explanation(job_id),
            "get": make_operation("listExplanations", "The explanations of a job", "ExplanationList", job_id, OF_JOB),
        },
        "/api/v1/jobs/{job_id}/explanations/{method}": {"get": _get_explanation(method)},
        "/api/v1/jobs/{job_id}/reviews": {
            "post": _review(job_id),
            "get": make_operation("listReviews", "What readers say of a job's film", "ReviewList", job_id, OF_JOB),
        },
        "/api/v1/jobs/{job_id}/audit": {"get": _get_audit(job_id)},
        **_batches(),
        **openapi_webhooks.build_paths(),
        "/livez": {"get": _open("livez", "This process serves", {"text/plain": {"schema": {"type": "string"}}})},
        "/readyz": {"get": _open("readyz", "Database, schema, broker, workers", json_of("Readiness"), not_ready=True)},
        "/metrics": {"get": _metrics()},
    }  # fmt: skip


def _submit() -> Json:
    form = {"type": "object", "required": ["file"], "properties": {"file": BINARY}}
    key = make_parameter("Idempotency-Key", "header", {"type": "string", "minLength": 1, "maxLength": 128},
                     "the same key and film answer the same job; another film: 422", required=False)  # fmt: skip
    fresh = make_parameter("Cache-Control", "header", {"type": "string", "examples": ["no-cache"]},
                       "`no-cache`: a worker answers, even where the same film and model have a stored result",
                       required=False)  # fmt: skip
    digest = make_parameter("Content-Digest", "header", {"type": "string", "examples": [EMPTY_DIGEST]},
                        "RFC 9530, of the whole body: 422 where its SHA-256 is another; the film's part of a form may "
                        "carry one of its own; other algorithms are ignored",
                        required=False)  # fmt: skip
    parameters = [*make_query(wire.SubmitQuery), key, _prefer(), fresh, digest, _traced()]
    operation = make_operation("submitJob", "Submit a film", "Job", parameters, OF_SUBMISSION)
    operation["requestBody"] = {
        "required": True,
        "content": {"multipart/form-data": {"schema": form}} | bytes_of(SHOWN_RAW_TYPES),
    }
    return _accepting(operation)


def _classify_again(parameters: list[Json]) -> Json:
    key = make_parameter("Idempotency-Key", "header", {"type": "string", "minLength": 1, "maxLength": 128},
                     "the same key answers the same new job; of another one: 422", required=False)  # fmt: skip
    words = "Classify the film of a job that has ended again, in a job of its own, which a worker answers"
    every = [*parameters, *make_query(wire.AgainQuery), key, _prefer(), _traced()]
    return _accepting(make_operation("classifyAgain", words, "Job", every, OF_REPETITION))


def _accepting(operation: Json) -> Json:
    """202, or 200 where the job that was made has ended."""
    location = text_header("the job")
    later = {"description": "seconds until polling makes sense", "schema": {"type": "integer"}}
    limits = {
        "RateLimit-Policy": text_header("`q`: how many films your tenant may have waiting"),
        "RateLimit": text_header("`r`: how many more, approximately; `t` of a 429: seconds until there may be room"),
    }
    operation["responses"]["202"] = {
        "description": "accepted; the job has not ended",
        "content": json_of("Job"),
        "headers": {"Location": location, "Retry-After": later, **limits},
    }
    operation["responses"]["429"]["headers"] = limits
    operation["responses"]["200"] |= {
        "description": "accepted, and the job has ended",
        "headers": {"Location": location},
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
    look = make_operation("getBatch", "What has become of a batch's films", "Batch", batch_id, [BatchNotFound])
    look["responses"]["200"]["headers"] = {"ETag": text_header("of its counts")}
    look["responses"]["304"] = {"description": "unchanged since the ETag in `If-None-Match`"}
    words = "Cancel all jobs of a batch that have not ended; what is sent into it meanwhile may go on"
    cancel = make_operation("cancelBatch", words, "Batch", batch_id, [Forbidden, BatchNotFound, StorageFull])
    return {
        "/api/v1/batches": {"post": create},
        "/api/v1/batches/{batch_id}": {"get": look},
        "/api/v1/batches/{batch_id}/cancel": {"post": cancel},
    }


def _prefer() -> Json:
    return make_parameter("Prefer", "header", {"type": "string", "examples": ["wait=20"]},
                      f"`wait=N` (RFC 7240): answer when the job has ended, or after N seconds, {LONGEST_WAIT_S} at "
                      "most; `Preference-Applied` says what was heeded", required=False)  # fmt: skip


def _traced() -> Json:
    return make_parameter("traceparent", "header", {"type": "string"},
                      "W3C Trace Context, version 00: its trace id is in the log lines of web server and worker, and "
                      "in `X-Request-Id` unless the client names the request itself; anything else is ignored",
                      required=False)  # fmt: skip


def _follow_job(parameters: list[Json]) -> Json:
    """The stream; each event's `data` is a `JobEvent`."""
    last = make_parameter("Last-Event-ID", "header", {"type": "string", "pattern": "^[0-9]{0,18}$"},
                      "go on after the event with this `id`", required=False)  # fmt: skip
    words = "The job's events as they happen, as server-sent events"
    operation = make_operation("followJob", words, "JobEvent", [*parameters, last],
                               [InvalidRequest, *OF_JOB, *OF_WAITING])  # fmt: skip
    operation["responses"]["200"] = {
        "description": "from the first one, or after `Last-Event-ID`. Type `status`, at last `done`; `data` is a "
        "JobEvent. A comment comes every 15 s; the stream ends after `done`, and after ten minutes",
        "content": {"text/event-stream": {}},
    }
    operation["responses"]["204"] = {"description": "the job has ended, and its last event was seen"}
    return operation


def _request_explanation(parameters: list[Json]) -> Json:
    operation = make_operation("requestExplanation", "Ask for an explanation; one that is there is answered as it is",
                           "ExplanationDetail", parameters,
                           [*OF_BODY, Forbidden, *OF_JOB, NotExplainable, TenantQueueFull, StorageFull])  # fmt: skip
    schema = {"schema": {"$ref": "#/components/schemas/ExplanationRequest"}}
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": schema, "application/x-www-form-urlencoded": schema},
    }
    operation["responses"]["202"] = _unfinished()
    return operation


def _review(parameters: list[Json]) -> Json:
    words = (
        "Say what you see in a film that was answered, in the place of what you said before; for reviewers and admins"
    )
    operation = make_operation(
        "reviewJob", words, "Review", parameters, [*OF_BODY, Forbidden, *OF_JOB, Conflict, StorageFull]
    )
    schema = {"schema": {"$ref": "#/components/schemas/ReviewRequest"}}
    operation["requestBody"] = {"required": True, "content": {"application/json": schema}}
    return operation


def _get_audit(parameters: list[Json]) -> Json:
    words = (
        "What happened to a job, oldest first, as it is chained; for its sender, and for admins and auditors, who also "
        "read that of a deleted one"
    )
    every = [*parameters, *make_query(audit_wire.AuditQuery)]
    return make_operation("getAudit", words, "AuditTrail", every, [InvalidRequest, Forbidden, *OF_JOB])


def _get_explanation(parameters: list[Json]) -> Json:
    operation = _binary("getExplanation", "A heatmap as PNG, the raw saliency map, or what is known of it", parameters,
                        ["image/png", "application/octet-stream"], [*OF_JOB, NotFound])  # fmt: skip
    operation["responses"]["200"]["content"] |= json_of("ExplanationDetail")
    operation["responses"]["202"] = _unfinished()
    return operation


def _unfinished() -> Json:
    headers = {
        "Location": {"description": "what is known of it", "schema": {"type": "string"}},
        "Retry-After": {"description": "seconds until asking again makes sense", "schema": {"type": "integer"}},
    }
    return {"description": "not computed yet", "content": json_of("ExplanationDetail"), "headers": headers}


def _get_job(parameters: list[Json]) -> Json:
    operation = make_operation("getJob", "One job with its result", "Job", [*parameters, _prefer()],
                               [*OF_JOB, *OF_WAITING])  # fmt: skip
    etag = {"schema": {"type": "string"}, "description": "of the job's state"}
    operation["responses"]["200"]["headers"] = {"ETag": etag}
    operation["responses"]["304"] = {"description": "unchanged since the ETag in `If-None-Match`"}
    return operation


def _export() -> Json:
    operation = make_operation("exportJobs", "All such jobs as a table, newest first, a line each", "Job",
                           make_query(wire.ExportQuery), [InvalidRequest])  # fmt: skip
    operation["responses"]["200"]["content"] = {"text/csv": {"schema": {"type": "string"}}}
    return operation


def _delete_job(parameters: list[Json]) -> Json:
    words = "Delete a job with its film, result and maps, for good; one that has not ended is cancelled first"
    operation = make_operation("deleteJob", words, "Job", parameters, [Forbidden, *OF_JOB, StorageDown, StorageFull])
    del operation["responses"]["200"]
    operation["responses"]["204"] = {"description": "it is deleted; who asks for it from now on is answered 410"}
    return operation


def _binary(name: str, summary: str, parameters: list[Json], types: list[str], problems: Problems) -> Json:
    responses = {"200": {"description": summary, "content": bytes_of(types)}} | make_problems(problems)
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}


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
