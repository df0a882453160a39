"""How clients learn of an answer: `tests/bench/talk.py`, against answers that are played back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import pytest

from tests.bench import talk
from tests.bench.talk import HTTPConnection, NotAnswered

DONE = {
    "done": True, "status": "succeeded", "error": None, "result": {"probabilities": {"normal": 1.0}},
    "links": {"self": "/api/v1/jobs/1"},
}  # fmt: skip
WAITING = {**DONE, "done": False, "status": "queued", "result": None}


@dataclass
class Played:
    """One answer."""

    status: int
    body: object

    def read(self) -> bytes:
        """As JSON."""
        return json.dumps(self.body).encode()


class Connection:
    """Gives its answers one after the other and notes what was asked."""

    def __init__(self, answers: Iterable[Played | Exception]) -> None:
        self.answers = iter(answers)
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []

    def request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> None:
        """Note it."""
        del body
        self.asked.append((method, path, headers))

    def getresponse(self) -> Played:
        """The next."""
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """The next request opens another."""
        self.asked.append(("close", "", {}))


def ask(name: str, *answers: Played | Exception) -> tuple[dict[str, float], Connection]:
    """The probabilities and what was asked for them."""
    http = Connection(answers)
    return talk.make(name, "pf_key").ask(cast("HTTPConnection", http), b"film", "image/png"), http


def test_plainfilm_is_asked_once_where_it_waits_for_the_verdict() -> None:
    """The POST's own answer is enough when it is done."""
    found, http = ask("plainfilm", Played(200, DONE))
    assert found == {"normal": 1.0}
    assert [(method, path) for method, path, _ in http.asked] == [("POST", "/api/v1/jobs")]
    assert http.asked[0][2]["Prefer"] == "wait=30"


def test_plainfilm_may_be_asked_to_compute() -> None:
    """So that the same film again costs what a new one does."""
    _, stored = ask("plainfilm", Played(200, DONE))
    _, computed = ask("plainfilm, nothing from its store", Played(200, DONE))
    assert [http.asked[0][2].get("Cache-Control") for http in (stored, computed)] == [None, "no-cache"]


def test_plainfilm_is_polled_where_it_answered_before() -> None:
    """At the job's own address, until it is done."""
    found, http = ask("plainfilm", Played(202, WAITING), Played(200, WAITING), Played(200, DONE))
    assert found == {"normal": 1.0}
    assert [path for _, path, _ in http.asked[1:]] == ["/api/v1/jobs/1"] * 2


def test_a_failed_job_is_no_answer() -> None:
    """It stops the run instead of counting as a film."""
    with pytest.raises(NotAnswered, match="failed"):
        ask("plainfilm", Played(202, {**DONE, "status": "failed", "result": None}))


def test_a_refusal_is_no_answer() -> None:
    """Likewise."""
    with pytest.raises(NotAnswered, match="503"):
        ask("litserve", Played(503, {}))


def test_the_tutorial_is_polled_until_ready() -> None:
    """By the id it gave."""
    waiting = Played(200, {"ready": False, "successful": False, "value": None})
    done = Played(200, {"ready": True, "successful": True, "value": {"probabilities": {"normal": 1.0}}})
    found, http = ask("tutorial", Played(200, {"result_id": "7"}), waiting, done)
    assert found == {"normal": 1.0}
    assert [path for _, path, _ in http.asked] == ["/films", "/results/7", "/results/7"]


def test_a_connection_that_the_server_closed_is_opened_anew() -> None:
    """Once: a server that keeps closing is at fault."""
    found, http = ask("litserve", ConnectionResetError(), Played(200, {"probabilities": {"normal": 1.0}}))
    assert found == {"normal": 1.0}
    assert [method for method, _, _ in http.asked] == ["POST", "close", "POST"]
    with pytest.raises(ConnectionResetError):
        ask("litserve", ConnectionResetError(), ConnectionResetError())
