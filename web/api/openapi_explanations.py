"""The explanations' part of the OpenAPI document: requested, listed, and fetched in three formats."""

from __future__ import annotations

from typing import Final

from shared.errors import Forbidden, NotExplainable, NotFound, StorageFull, TenantQueueFull
from web.api.openapi_parts import (
    AGAIN_UNLESS_DONE,
    OF_BODY,
    OF_JOB,
    Json,
    json_of,
    make_binary,
    make_operation,
    make_parameter,
    seconds_header,
    text_header,
)

ALL: Final = "/api/v1/jobs/{job_id}/explanations"


def build_paths(job_id: list[Json]) -> Json:
    """Return the operations; `job_id` is the parameter of all of them."""
    named = {"$ref": "#/components/schemas/ExplanationMethod"}
    method = [*job_id, make_parameter("method", "path", named, "the saliency method")]
    return {
        ALL: {"post": _request_explanation(job_id), "get": _list_explanations(job_id)},
        f"{ALL}/{{method}}": {"get": _get_heatmap(method)},
        f"{ALL}/{{method}}.npy": {"get": _get_map(method)},
        f"{ALL}/{{method}}.json": {"get": _get_explanation(method)},
    }


def _request_explanation(parameters: list[Json]) -> Json:
    operation = make_operation("requestExplanation", "Request an explanation; an existing one is returned as it is",
                           "ExplanationDetail", parameters,
                           [*OF_BODY, Forbidden, *OF_JOB, NotExplainable, TenantQueueFull, StorageFull])  # fmt: skip
    operation["requestBody"] = {"required": True, "content": json_of("ExplanationRequest")}
    operation["responses"]["200"]["headers"] = {"Location": text_header("what is known of it")}
    operation["responses"]["202"] = _unfinished()
    return operation


def _list_explanations(parameters: list[Json]) -> Json:
    operation = make_operation("listExplanations", "The explanations of a job", "ExplanationList", parameters, OF_JOB)
    operation["responses"]["200"]["headers"] = {"Retry-After": AGAIN_UNLESS_DONE}
    return operation


def _get_heatmap(parameters: list[Json]) -> Json:
    operation = make_binary("getHeatmap", "A heatmap as PNG", parameters, ["image/png"], [*OF_JOB, NotFound])
    operation["responses"]["202"] = _unfinished()
    return operation


def _get_map(parameters: list[Json]) -> Json:
    words = "A raw saliency map: NumPy's format, float32"
    operation = make_binary("getSaliency", words, parameters, ["application/octet-stream"], [*OF_JOB, NotFound])
    operation["responses"]["202"] = _unfinished()
    return operation


def _get_explanation(parameters: list[Json]) -> Json:
    words = "What is known of an explanation: its state and its numbers"
    operation = make_operation("getExplanation", words, "ExplanationDetail", parameters, [*OF_JOB, NotFound])
    operation["responses"]["200"]["headers"] = {"Retry-After": AGAIN_UNLESS_DONE}
    return operation


def _unfinished() -> Json:
    headers = {
        "Location": text_header("what is known of it"),
        "Retry-After": seconds_header("until asking again makes sense"),
    }
    return {"description": "not computed yet", "content": json_of("ExplanationDetail"), "headers": headers}
