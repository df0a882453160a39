"""How a client of each design learns of a film's answer; one connection a client, and as little work as can be."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any, Protocol

from tests.bench import stats

TUTORIAL_POLL_S, SLOW_POLL_S = 0.05, 0.5
FIRST_POLL_S, LONGEST_POLL_S = 0.02, 0.05

Json = dict[str, Any]  # Any: JSON


class NotAnswered(Exception):
    """The server refused a film or failed on it."""


class Talk(Protocol):
    """Send a film, come back with its probabilities."""

    def ask(self, http: HTTPConnection, film: bytes, mime: str) -> dict[str, float]:
        """Probability by label.

        Raises:
            NotAnswered: says what came instead.
        """


@dataclass(frozen=True, slots=True)
class PlainfilmTalk:
    """POST the film and let the service hold the answer until it is there; poll only where it answered before.

    Attributes:
        is_fresh: a worker shall answer, even where the answer is stored.
    """

    key: str
    is_fresh: bool = False

    def ask(self, http: HTTPConnection, film: bytes, mime: str) -> dict[str, float]:
        """As `Talk.ask`."""
        who = {"Authorization": f"Bearer {self.key}"}
        wishes = {"Prefer": "wait=30", **({"Cache-Control": "no-cache"} if self.is_fresh else {})}
        job = _exchange(http, "POST", "/api/v1/jobs", film, {**who, **wishes, "Content-Type": mime})
        pause_s = FIRST_POLL_S
        while not job["done"]:
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_POLL_S)
            job = _exchange(http, "GET", job["links"]["self"], None, who)
        if job["result"] is None:
            raise NotAnswered(f"a film ended as {job['status']}: {job['error']}")
        return dict(job["result"]["probabilities"])


@dataclass(frozen=True, slots=True)
class TutorialTalk:
    """POST the film, then ask for its result again and again."""

    poll_s: float = TUTORIAL_POLL_S

    def ask(self, http: HTTPConnection, film: bytes, mime: str) -> dict[str, float]:
        """As `Talk.ask`."""
        place = "/results/" + _exchange(http, "POST", "/films", film, {"Content-Type": mime})["result_id"]
        while True:
            time.sleep(self.poll_s)
            found = _exchange(http, "GET", place, None, {})
            if found["ready"]:
                break
        if not found["successful"]:
            raise NotAnswered("a task failed")
        return dict(found["value"]["probabilities"])


@dataclass(frozen=True, slots=True)
class LitServeTalk:
    """POST the film; the answer is the response."""

    def ask(self, http: HTTPConnection, film: bytes, mime: str) -> dict[str, float]:
        """As `Talk.ask`."""
        return dict(_exchange(http, "POST", "/predict", film, {"Content-Type": mime})["probabilities"])


def make(name: str, key: str) -> Talk:
    """The talk of a design, by its name."""
    talks: dict[str, Talk] = {
        stats.PLAINFILM: PlainfilmTalk(key),
        stats.PLAINFILM_FLOAT32: PlainfilmTalk(key),
        stats.PLAINFILM_COMPUTED: PlainfilmTalk(key, is_fresh=True),
        stats.TUTORIAL: TutorialTalk(),
        stats.TUTORIAL_SLOW: TutorialTalk(SLOW_POLL_S),
        stats.LITSERVE: LitServeTalk(),
    }
    return talks[name]


def _exchange(http: HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Json:
    try:
        status, data = _once(http, method, path, body, headers)
    except (ConnectionResetError, BrokenPipeError, RemoteDisconnected):  # the server closed an idle connection
        http.close()
        status, data = _once(http, method, path, body, headers)
    if status >= 300:
        raise NotAnswered(f"{method} was answered {status}: {data[:200]!r}")
    found: Json = json.loads(data)
    return found


def _once(
    http: HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    http.request(method, path, body, headers)
    response = http.getresponse()
    return response.status, response.read()
