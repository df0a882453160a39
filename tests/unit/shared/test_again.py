"""`plainfilm again`: which films of a list are classified again, and what is told of them; each once, however often."""

from __future__ import annotations

import json
from collections.abc import Sequence

import httpx
import pytest

from shared import wire
from shared.again import choose, run
from shared.client import Client
from shared.domain import AgainReason
from shared.errors import Unavailable
from shared.health_wire import Readiness
from tests.wire_jobs import make_wire_job, make_wire_result

NOW, BEFORE = "e" * 64, "d" * 64
EVERY = tuple(AgainReason)


def job_id(number: int) -> str:
    """Of a job that was made as the `number`-th."""
    return f"01997000-0000-7000-8000-{number:012d}"


def make(number: int, status: str, *, film: str, model: str | None = None) -> wire.Job:
    """A job of the film that is called by one hexadecimal digit."""
    told = make_wire_job().input.model_copy(update={"sha256": film * 64})
    ref = wire.ModelRef(name="m", version="1", sha256=model, preprocessing="p") if model else None
    result = make_wire_result() if model else None
    return make_wire_job(job_id=job_id(number), status=status, input=told, model=ref, result=result)


@pytest.mark.parametrize(
    ("reasons", "chosen"),
    [
        (["failed"], [9]),
        (["cancelled"], [8]),
        (["expired"], [7]),
        (["other-model"], [6, 4]),
        (EVERY, [9, 8, 7, 6, 4]),
    ],
    ids=["failed", "cancelled", "expired", "other model", "all"],
)
def test_a_film_is_judged_by_its_newest_job(reasons: Sequence[str], chosen: list[int]) -> None:
    """One that waits, or that the serving model has answered since, is left alone, whatever became of it before."""
    jobs = [
        make(13, "queued", film="1"),
        make(12, "running", film="2"),
        make(11, "succeeded", film="3", model=NOW),
        make(10, "succeeded", film="4", model=NOW),
        make(9, "failed", film="5"),
        make(8, "cancelled", film="6"),
        make(7, "expired", film="7"),
        make(6, "succeeded", film="8", model=BEFORE),
        make(5, "failed", film="1"),
        make(4, "succeeded", film="9", model=BEFORE),
        make(3, "succeeded", film="2", model=BEFORE),
        make(2, "failed", film="3"),
        make(1, "succeeded", film="4", model=BEFORE),
        make(0, "failed", film="9"),
    ]
    assert list(choose(jobs, [AgainReason(word) for word in reasons], NOW)) == [job_id(n) for n in chosen]


def test_what_ended_without_an_answer_is_of_the_answer_before() -> None:
    """A film of another model whose new job was cancelled is not passed over: by its newest job, and once."""
    jobs = [
        make(3, "cancelled", film="1"),
        make(2, "failed", film="1"),
        make(1, "succeeded", film="1", model=BEFORE),
        make(0, "succeeded", film="1", model=BEFORE),
    ]
    assert list(choose(jobs, [AgainReason.OTHER_MODEL], NOW)) == [job_id(3)]
    assert list(choose(jobs, [AgainReason.FAILED], None)) == []
    assert list(choose(jobs[1:], EVERY, NOW)) == [job_id(2)]


class Service:
    """Three pages of one job each; a film that is classified again is answered by the model that serves, but one."""

    def __init__(self, serving: str | None = NOW) -> None:
        self.serving = serving
        self.pages = [make(n, "succeeded", film=f"{n}", model=BEFORE) for n in (3, 2, 1)]
        self.made: dict[str, wire.Job] = {}
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Readiness, the list, a job made again, a job."""
        self.asked.append(request)
        path = request.url.path
        if path == "/readyz":
            ready = Readiness(ready=True, database="up", schema_version="1", broker="up", workers=1,
                                   model_sha256=self.serving)  # fmt: skip
            return httpx.Response(200, content=ready.model_dump_json())
        if path == "/api/v1/jobs":
            return httpx.Response(200, content=self._page(request.url.params.get("cursor")).model_dump_json())
        if path.endswith("/again"):
            return self._again(path.split("/")[4], request.headers["Idempotency-Key"])
        found = next(job for job in self.made.values() if job.id == path.rsplit("/", 1)[1])
        return httpx.Response(200, content=found.model_dump_json())

    def _page(self, cursor: str | None) -> wire.JobList:
        left = [job for job in [*reversed(self.made.values()), *self.pages] if cursor is None or job.id < cursor]
        return wire.JobList(jobs=left[:1], next_cursor=left[0].id if left[1:] else None)

    def _again(self, of: str, key: str) -> httpx.Response:
        if of == job_id(2) and self.serving == NOW:
            gone = wire.Problem(type="/", title="T", status=410, detail="Deleted.", code="job_deleted", request_id="r")
            return httpx.Response(410, content=gone.model_dump_json())
        film = next(job.input.sha256[0] for job in self.pages if job.id == of)
        made = make(10 + len(self.made), "succeeded", film=film, model=self.serving)
        return httpx.Response(202, content=self.made.setdefault(key, made).model_dump_json())


def call(service: Service, *reasons: AgainReason, since: str | None = None) -> int:
    """The command, as JSON."""
    with Client("http://service", "pf_k", 1.0, httpx.MockTransport(service)) as client:
        return run(client, reasons, since=since, priority="bulk", as_json=True)


def test_every_film_of_the_list_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, with the job it is of; one that is refused is an error, and the status is 1; as bulk, by its key."""
    service = Service()
    assert call(service, AgainReason.OTHER_MODEL, since="2026-11-01T00:00:00Z") == 1
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["again_of"] for line in lines] == [job_id(3), job_id(2), job_id(1)]
    assert [line.get("verdict") or line["error"] for line in lines] == ["normal", "Deleted.", "normal"]
    assert printed.err.splitlines() == ["3 films are classified again"]
    posted = [request for request in service.asked if request.method == "POST"]
    assert [request.url.params["priority"] for request in posted] == ["bulk"] * 3
    assert [request.headers["Idempotency-Key"] for request in posted] == [f"again-{job_id(n)}" for n in (3, 2, 1)]
    listed = [request.url.params for request in service.asked if request.url.path == "/api/v1/jobs"]
    assert [params["since"] for params in listed] == ["2026-11-01T00:00:00Z"] * 3


def test_called_once_more_it_does_only_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """What was answered is answered; only the film that was refused is tried."""
    service = Service()
    call(service, AgainReason.OTHER_MODEL)
    before = dict(service.made)
    assert call(service, AgainReason.OTHER_MODEL) == 1
    assert service.made == before
    assert [json.loads(line)["again_of"] for line in capsys.readouterr().out.splitlines()[3:]] == [job_id(2)]


def test_where_nothing_is_to_be_done_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0, and the model is not asked for where it does not matter."""
    service = Service(serving=None)
    assert call(service, AgainReason.FAILED, AgainReason.EXPIRED) == 0
    assert capsys.readouterr().err.splitlines() == ["0 films are classified again"]
    assert "/readyz" not in {request.url.path for request in service.asked}


def test_without_one_serving_model_nothing_is_sent() -> None:
    """Nobody could say which films another one answered."""
    service = Service(serving=None)
    with pytest.raises(Unavailable, match="unclear which should answer"):
        call(service, AgainReason.OTHER_MODEL)
    assert not service.made
