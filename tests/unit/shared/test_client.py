"""The client asks again where that helps, never makes a second job, and says why it gives up."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import pytest_socket

from shared import wire
from shared.client import Client, Refused
from shared.errors import NotAllowed, Unavailable
from tests.wire_jobs import make_wire_job

Answer = Callable[[httpx.Request], httpx.Response]


class Service:
    """Answers from a list, and remembers what it was asked; the last answer repeats."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The next answer."""
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, patience_s: float = 5.0) -> Client:
        """A client of this service."""
        return Client("http://service", "pf_k", patience_s, httpx.MockTransport(self))


def job_answer(code: int = 200, **changed: object) -> httpx.Response:
    """A job as JSON."""
    return httpx.Response(code, content=make_wire_job(**changed).model_dump_json())


def problem_answer(status: int, code: str = "x", **headers: str) -> httpx.Response:
    """A problem as JSON."""
    problem = wire.Problem(type="/problems#x", title="T", status=status, detail="Why.", code=code, request_id="r")
    return httpx.Response(status, content=problem.model_dump_json(), headers=headers)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A file."""
    path = tmp_path / "patient name.png"
    path.write_bytes(b"film bytes")
    return path


def test_unit_tests_cannot_reach_a_network() -> None:
    """The floor's own promise: an internet socket is refused, one of this machine is not."""
    with pytest.raises((pytest_socket.SocketBlockedError, UserWarning)):  # its warning comes first, as an error
        socket.socket(socket.AF_INET)
    socket.socket(socket.AF_UNIX).close()


def test_a_film_is_sent_with_key_and_without_its_name(film: Path) -> None:
    """Bearer key, idempotency key, priority, and its bytes alone, with their digest; the file's name stays here."""
    service = Service(job_answer(202))
    with service.client() as client:
        assert client.submit(film, "stat") == make_wire_job()
    (request,) = service.requests
    assert request.headers["Authorization"] == "Bearer pf_k"
    assert request.url.params["priority"] == "stat"
    assert len(request.headers["Idempotency-Key"]) == 36
    assert request.content == b"film bytes"
    assert request.headers["Content-Type"] == "application/octet-stream"
    assert request.headers["Content-Digest"] == "sha-256=:42EacepjwrEfKd5T4gePqYui8Siai7RLTyBODomDCFM=:"
    assert "patient" not in str(request.headers) + str(request.url)


def test_a_lost_answer_is_asked_for_with_the_same_key(film: Path) -> None:
    """Connection lost, then 503, then accepted: three requests, one idempotency key, so one job."""
    service = Service(httpx.ReadError("lost"), problem_answer(503, **{"Retry-After": "0"}), job_answer(202))
    with service.client() as client:
        client.submit(film)
    assert len(service.requests) == 3
    assert len({request.headers["Idempotency-Key"] for request in service.requests}) == 1


def test_two_films_have_two_keys(film: Path) -> None:
    """The same file sent twice on purpose is two jobs."""
    service = Service(job_answer(202))
    with service.client() as client:
        client.submit(film)
        client.submit(film)
    assert len({request.headers["Idempotency-Key"] for request in service.requests}) == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504, 507])
def test_what_is_worth_it_is_asked_again(status: int) -> None:
    """Too busy, away or full for now."""
    service = Service(problem_answer(status, **{"Retry-After": "0"}), job_answer())
    with service.client() as client:
        assert client.get("j").id == make_wire_job().id


ONCE: dict[str, Callable[[Client], object]] = {
    "add": lambda client: client.webhooks.add("http://there"),
    "rotate": lambda client: client.webhooks.rotate("w"),
    "remove": lambda client: client.webhooks.remove("w"),
    "ping": lambda client: client.webhooks.ping("w"),
    "replay": lambda client: client.webhooks.replay("w", "d"),
    "replay failed": lambda client: client.webhooks.replay_failed("w", "2026-11-30T00:00:00Z"),
}


@pytest.mark.parametrize("act", ONCE.values(), ids=ONCE)
@pytest.mark.parametrize("answer", [httpx.ReadError("lost"), problem_answer(502), problem_answer(504)])
def test_what_is_done_once_is_not_repeated_where_it_may_have_been_done(
    answer: httpx.Response | Exception, act: Callable[[Client], object]
) -> None:
    """A second rotation would end the secret that the receiver has; a second replay would be refused."""
    service = Service(answer)
    with service.client() as client, pytest.raises((Unavailable, Refused)):
        act(client)
    assert len(service.requests) == 1


NOT_NOW = [problem_answer(status, **{"Retry-After": "0"}) for status in (429, 503, 507)]


@pytest.mark.parametrize("answer", [httpx.ConnectError("no"), *NOT_NOW])
def test_what_was_not_begun_is_begun_again(answer: httpx.Response | Exception) -> None:
    """Nobody was there, or who was there could not."""
    service = Service(answer, httpx.Response(204))
    with service.client() as client:
        client.webhooks.remove("w")
    assert len(service.requests) == 2


@pytest.mark.parametrize("status", [400, 404, 409, 413, 415, 422, 500])
def test_a_refusal_is_told_at_once(status: int) -> None:
    """With the service's own words and code, after a single request."""
    service = Service(problem_answer(status, code="too_large"))
    with service.client() as client, pytest.raises(Refused, match=r"Why\.") as caught:
        client.get("j")
    assert caught.value.problem_code == "too_large"
    assert len(service.requests) == 1


def test_a_wrong_key_is_told_as_such() -> None:
    """401 is about the key, not about the film."""
    with Service(problem_answer(401)).client() as client, pytest.raises(NotAllowed, match=r"Why\."):
        client.jobs()


@pytest.mark.parametrize("answer", [httpx.ConnectError("no"), problem_answer(503, **{"Retry-After": "3600"})])
def test_patience_ends(answer: httpx.Response | Exception) -> None:
    """However long the service asks to wait, the client gives up in its own time."""
    with Service(answer).client(patience_s=0.05) as client, pytest.raises((Unavailable, Refused)):
        client.get("j")


def test_a_date_to_wait_for_does_not_break_the_client() -> None:
    """RFC 9110 lets proxies send a date in Retry-After."""
    dated = problem_answer(503, **{"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
    with Service(dated).client(patience_s=0.05) as client, pytest.raises(Refused):
        client.get("j")


def test_an_answer_without_a_reason_is_no_crash() -> None:
    """A proxy's HTML page instead of a problem."""
    with (
        Service(httpx.Response(500, text="<h1>oops</h1>")).client() as client,
        pytest.raises(Unavailable, match="500"),
    ):
        client.get("j")


def test_a_proxy_that_takes_no_films_of_this_size_is_told() -> None:
    """Nginx takes a megabyte unless told otherwise; the service itself refuses in words of its own."""
    page = httpx.Response(413, text="<h1>413 Request Entity Too Large</h1>")
    with Service(page).client() as client, pytest.raises(Unavailable, match=r"413.*proxy.*size of uploads"):
        client.get("j")


def test_a_certificate_that_is_not_trusted_is_told() -> None:
    """The service runs, so asking whether it does leads nowhere; what to set is said."""
    fault = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate")
    with Service(fault).client(patience_s=0.05) as client, pytest.raises(Unavailable, match="SSL_CERT_FILE"):
        client.get("j")


@pytest.mark.parametrize(("status", "code"), [(503, "waiters_full"), (429, "tenant_waiters_full")])
def test_a_service_that_holds_no_more_questions_is_polled(status: int, code: str) -> None:
    """As it says itself: the question is asked again at once, without `Prefer`, however short the patience is."""
    full = problem_answer(status, code, **{"Retry-After": "30"})
    service = Service(full, job_answer(status="queued"), full, job_answer(status="succeeded"))
    with service.client(patience_s=0) as client:
        assert client.wait("j", every_s=0).status.value == "succeeded"
    assert ["Prefer" in request.headers for request in service.requests] == [True, False, True, False]


def test_waiting_says_what_else_is_wrong() -> None:
    """After one question."""
    service = Service(problem_answer(404, code="job_not_found"))
    with service.client() as client, pytest.raises(Refused):
        client.wait("j")
    assert len(service.requests) == 1


def test_waiting_ends_with_the_job() -> None:
    """Polls while the job is not done, whatever the states in between are called."""
    service = Service(job_answer(status="queued"), job_answer(status="running"), job_answer(status="expired"))
    with service.client() as client:
        assert client.wait("j", every_s=0).status.value == "expired"
    assert len(service.requests) == 3


def test_the_newest_jobs_are_listed() -> None:
    """The limit is passed on."""
    service = Service(httpx.Response(200, content=json.dumps({"jobs": [], "next_cursor": None})))
    with service.client() as client:
        assert client.jobs(limit=7).jobs == []
    assert service.requests[0].url.params["limit"] == "7"


def test_a_service_that_never_answered_is_given_up_soon(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens there: it is not running. One that has answered before is waited for."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda pause: now.__setitem__(0, now[0] + pause))
    refused = httpx.ConnectError("refused")
    for answers, given_up_s in (((refused,), 3), ((job_answer(202), refused), 60)):
        service, now[0] = Service(*answers), 0.0
        with Client("http://s", "pf_k", 60.0, httpx.MockTransport(service), connect_patience_s=3.0) as client:
            if len(answers) > 1:
                client.submit(film)
            with pytest.raises(Unavailable, match="Is `plainfilm up` running"):
                client.submit(film)
        assert given_up_s <= now[0] < given_up_s + 2
