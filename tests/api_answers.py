"""What an answer of the API must be: a job, or a problem that gives nothing of the inside away."""

from __future__ import annotations

from pathlib import Path

from werkzeug.test import TestResponse

from shared import wire
from shared.domain import Priority
from shared.wiring import Resources
from tests.fakes import RecordingQueue

UNKNOWN = "01997000-0000-7000-8000-000000000000"


MAX_BYTES = 100_000
CHECKOUT = str(Path(__file__).resolve().parent.parent)


def problem(response: TestResponse, status: int, code: str) -> wire.Problem:
    """The response is this problem, and gives nothing of the inside away."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    found = wire.Problem.model_validate_json(response.data)
    assert (found.status, found.code, found.type) == (status, code, f"/problems#{code}")
    assert found.request_id == response.headers["X-Request-Id"]
    assert not [word for word in (CHECKOUT, "/tmp", "Traceback", "sqlite", "SELECT", ".py") if word in response.text]  # noqa: S108  not used
    return found


def job_of(response: TestResponse, status: int = 200) -> wire.Job:
    """The response is a job."""
    assert response.status_code == status, response.text
    return wire.Job.model_validate_json(response.data)


def rings(resources: Resources) -> list[tuple[str, Priority]]:
    """What was rung."""
    assert isinstance(resources.queue, RecordingQueue)
    return resources.queue.rings
