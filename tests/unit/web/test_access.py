"""Each request leaves one line: who asked what, and what came of it; no ids of films, no tokens."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from shared.wiring import Resources, new_job_id
from tests.api import Api


def lines(api: Api, method: str, path: str, **options: object) -> list[Mapping[str, object]]:
    """What the log says of one request."""
    with capture_logs() as said:
        getattr(api, method)(path, **options)
    return [line for line in said if line["event"] == "request"]


def test_a_request_is_one_line(api: Api) -> None:
    """With its route's pattern, its key and its tenant, the code of its problem, and how long it took."""
    (line,) = lines(api, "get", f"/api/v1/jobs/{new_job_id()}")
    assert line.pop("duration_ms") > 0
    key_id = line.pop("key_id")
    assert len(key_id) == 12
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "route": "/api/v1/jobs/<job_id>",
        "status": 404,
        "code": "job_not_found",
        "tenant": "default",
    }


@pytest.mark.parametrize(
    ("path", "route", "status", "code"),
    [
        ("/api/v1/jobs", "/api/v1/jobs", 401, "unauthorized"),
        ("/livez", "/livez", 200, None),
        ("/enter/s3cret", "/enter/<token>", 401, "unauthorized"),
        ("/no/such/s3cret", None, 401, "unauthorized"),
    ],
)
def test_a_stranger_is_told_of_too(resources: Resources, path: str, route: str, status: int, code: str) -> None:
    """Without a key there is none to name; what stands in the address is not repeated."""
    (line,) = lines(Api(resources, None), "get", path)
    assert (line["route"], line["status"], line["code"], line["key_id"]) == (route, status, code, None)
    assert "s3cret" not in str(line)
