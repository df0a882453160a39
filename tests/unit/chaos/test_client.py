"""What a trial's client makes of a service that answers badly: nothing of it is taken for a trial that went well."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from shared.domain import JobState, Priority
from tests.chaos.checker import check
from tests.chaos.client import Client, Target
from tests.chaos.facts import AuditRow, Evidence, JobRow, ResultRow
from tests.chaos.history import History
from tests.chaos.plan import Order
from tests.wire_jobs import make_wire_job

Answer = Callable[[httpx.Request], httpx.Response]
ORDERS = [Order(f"k{number}", number, Priority.ROUTINE, 0.05 * number, "", None) for number in range(2)]


class Played(Client):
    """A client whose service is a function."""

    service: Answer

    def _connect(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self.service))


def answer(status: int, state: JobState, key: str) -> httpx.Response:
    """A job of this key, whose id is the same."""
    job = make_wire_job(job_id=key, status=state, attempt=int(state.is_terminal))
    return httpx.Response(status, content=job.model_dump_json())


def sound(request: httpx.Request) -> httpx.Response:
    """Takes each film, and has answered it when asked."""
    if request.method == "POST":
        return answer(202, JobState.QUEUED, request.headers["Idempotency-Key"])
    return answer(200, JobState.SUCCEEDED, request.url.path.rsplit("/", 1)[1])


def reads_say(response: httpx.Response) -> Answer:
    """A service that takes films, and gives this answer to whoever asks for one."""
    return lambda request: sound(request) if request.method == "POST" else response


def faults(folder: Path, service: Answer, patience_s: float) -> set[str]:
    """What the checker says of a client of this service, where all else is as it should be."""
    history, now = History(folder / "history.jsonl"), time.monotonic()
    client = Played("client0", ORDERS, Target(["http://service"], "key"), history, now, now + patience_s)
    client.service = service
    client.run()
    history.close()
    keys = [order.key for order in ORDERS]
    trail = [
        AuditRow(3 * place + step, 0.0, actor, action, key, attempt)
        for place, key in enumerate(keys)
        for step, (actor, action, attempt) in enumerate(
            [("key:k", "accepted", None), ("worker:vm:1", "claimed", 1), ("worker:vm:1", "succeeded", 1)]
        )
    ]
    rows = [JobRow(key, key, "succeeded", 1) for key in keys]
    results = [ResultRow(key, 1) for key in keys]
    return {fault.why for fault in check(Evidence(ORDERS, history.events, rows, results, trail, raised=client.raised))}


def test_a_sound_service_has_no_fault(tmp_path: Path) -> None:
    """Both films are sent, and their ends read."""
    assert faults(tmp_path, sound, 30.0) == set()


def test_an_answer_that_is_no_job_is_a_fault(tmp_path: Path) -> None:
    """Whatever its status: the client dies of it, and says so."""
    found = faults(tmp_path, reads_say(httpx.Response(200, content="{}")), 30.0)
    assert any("ValidationError" in why for why in found)
    assert "its end was never read" in found


def test_an_end_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """An error may come and go; one that stays is none that kills explain."""
    assert faults(tmp_path, reads_say(httpx.Response(500)), 2.0) == {"its end was never read"}


def test_an_error_that_goes_by_is_no_fault(tmp_path: Path) -> None:
    """A service that is away for a moment is asked again."""
    waited = iter([httpx.Response(503), httpx.Response(500)])

    def service(request: httpx.Request) -> httpx.Response:
        bad = next(waited, None) if request.method == "GET" else None
        return bad or sound(request)

    assert faults(tmp_path, service, 30.0) == set()
