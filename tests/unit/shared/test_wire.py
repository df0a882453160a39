"""The JSON of the API: closed, frozen, and the same after a round trip."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from shared import wire
from shared.domain import JobState, Priority, Verdict
from tests.wire_jobs import make_wire_job, make_wire_result

moments = st.datetimes(timezones=st.just(UTC))
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
results = st.builds(
    wire.Result,
    verdict=st.sampled_from(Verdict),
    probabilities=st.dictionaries(st.sampled_from(["covid19", "normal"]), st.floats(0, 1)),
    prediction_set=st.lists(st.sampled_from(["covid19", "normal"]), max_size=2),
    reasons=st.lists(st.text(max_size=10), max_size=2),
    explanations=st.just([]),
    notice=st.just(wire.NOTICE),
)
jobs = st.builds(
    wire.Job,
    status=st.sampled_from(JobState),
    priority=st.sampled_from(Priority),
    attempt=st.integers(0, 5),
    created_at=moments,
    started_at=st.none() | moments,
    finished_at=st.none() | moments,
    expires_at=st.none() | moments,
    input=st.builds(
        wire.Input,
        sha256=digests,
        pixels_sha256=digests,
        width_px=st.integers(1, 9000),
        height_px=st.integers(1, 9000),
    ),
    model=st.none(),
    result=st.none() | results,
)
ANSWERS = wire.Wire.__subclasses__()


@given(jobs)
def test_a_job_survives_the_round_trip(job: wire.Job) -> None:
    """What a client reads is what was written."""
    assert wire.Job.model_validate_json(job.model_dump_json()) == job


@pytest.mark.parametrize("model", [*ANSWERS, wire.ListQuery, wire.SubmitQuery], ids=lambda model: model.__name__)
def test_nothing_beside_the_named_fields_is_taken(model: type[BaseModel]) -> None:
    """No mass assignment, no misspelt parameter that is silently dropped."""
    with pytest.raises(ValidationError, match="surprise"):
        model.model_validate({"surprise": 1})


def test_an_answer_is_frozen() -> None:
    """Nobody edits a job between reading and answering."""
    error = wire.JobError(code="poisoned", detail="x")
    with pytest.raises(ValidationError):
        error.code = "y"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("code", "status"), [("not_a_frontal_film", 422), ("poisoned", 500), ("of_a_later_build", 500)]
)
def test_why_a_job_failed_is_a_problem_whatever_its_code(code: str, status: int) -> None:
    """Its code leads to the page of codes; one that is no error's own is a fault of ours."""
    error = wire.JobError.of(code, "Why.")
    assert (error.type, error.status, error.detail) == (f"/problems#{code}", status, "Why.")
    assert error.title


def test_an_answer_of_an_earlier_build_is_read() -> None:
    """It had code and detail alone, and no list of fields."""
    assert wire.JobError.model_validate_json('{"code": "poisoned", "detail": "x"}').detail == "x"
    early = '{"type": "/", "title": "T", "status": 400, "detail": "x", "code": "c", "request_id": "r"}'
    assert wire.Problem.model_validate_json(early).errors == []


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "many"},
        {"status": "done"},
        {"verdict": "healthy"},
        {"cursor": "x"},
        {"cursor": "0" * 36 + "\n"},
        {"cursor": "G" * 36},
    ],
)
def test_a_list_query_out_of_bounds_is_refused(query: dict[str, str]) -> None:
    """Limits of 1 to 200, known words, a cursor in the form of an id."""
    with pytest.raises(ValidationError):
        wire.ListQuery.model_validate(query)


def test_what_is_not_asked_for_has_its_default() -> None:
    """Fifty jobs of any state and time; a routine film."""
    anything = dict.fromkeys(("status", "verdict", "batch", "reviewed", "since", "until", "cursor"))
    assert wire.ListQuery().model_dump() == anything | {"limit": 50}
    assert wire.SubmitQuery().priority is Priority.ROUTINE


def test_times_are_written_with_their_zone() -> None:
    """A reader elsewhere is not an hour off."""
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    text = wire.Job.model_construct(created_at=moment).model_dump_json(include={"created_at"})
    assert text == '{"created_at":"2026-01-02T03:04:05Z"}'


def test_an_answer_of_a_later_build_is_read() -> None:
    """What it adds is passed over, in the job and below it; requests still name what is unknown."""
    told = make_wire_job(status="succeeded", result=make_wire_result()).model_dump(mode="json")
    told["tomorrow"] = told["links"]["tomorrow"] = told["result"]["tomorrow"] = 7
    assert wire.Job.model_validate(told) == make_wire_job(status="succeeded", result=make_wire_result())
    with pytest.raises(ValidationError):
        wire.ListQuery.model_validate({"tomorrow": 7})
