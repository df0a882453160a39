"""Jobs as the API answers them, for tests of what reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from shared import wire
from shared.domain import JobState, Priority, Verdict

JOB_ID = "01997000-0000-7000-8000-000000000001"


def make_wire_result(*, verdict: Verdict = Verdict.NORMAL) -> wire.Result:
    """A result without explanations."""
    return wire.Result(
        verdict=verdict,
        probabilities={"covid19": 0.1, "normal": 0.8, "viral_pneumonia": 0.1},
        other_probability=0.07,
        prediction_set=["normal"],
        reasons=[],
        explanations=[],
        device="cpu/fake",
        code_version="0",
    )


def make_wire_job(*, job_id: str = JOB_ID, status: str = "queued", **changed: Any) -> wire.Job:
    """A job in the state `status`; Any: its other fields."""
    state = JobState(status)
    fields: dict[str, Any] = {
        "id": job_id,
        "status": state,
        "done": state.is_terminal,
        "priority": Priority.ROUTINE,
        "queue_position": None,
        "attempt": 0,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "started_at": None,
        "finished_at": None,
        "expires_at": None,
        "input": wire.Input(
            sha256="a" * 64, pixels_sha256="b" * 64, kind="png", width_px=64, height_px=48, bit_depth=8
        ),
        "model": None,
        "result": None,
        "error": None,
        "links": wire.Links(
            self=f"/api/v1/jobs/{job_id}",
            film=f"/api/v1/jobs/{job_id}/film",
            page=f"/jobs/{job_id}",
            events=f"/api/v1/jobs/{job_id}/events",
            explanations=f"/api/v1/jobs/{job_id}/explanations",
            cancel=f"/api/v1/jobs/{job_id}/cancel",
        ),
    }
    return wire.Job(**fields | changed)
