"""One client of the trial: sends its films, polls them until done, and logs everything it asks and is told.

It is as careless about servers as a good client may be: any web server will do, and whatever is not answered is asked
again with the same key. Twins send a key twice, some at the same moment.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import httpx

from shared import wire
from tests.chaos.history import Action, Event, History, Outcome
from tests.chaos.plan import Order
from tests.factories import make_pixels, make_png

TIMEOUT_S = 20.0
LONGEST_PAUSE_S = 3.0
READ_EVERY_S = 1.0
FILM_SIDE_PX = 48
ACCEPTED, OK, TOO_MANY, BROKEN = 202, 200, 429, 500


@dataclass(frozen=True, slots=True)
class Target:
    """Where the service is, and the key that opens it."""

    urls: Sequence[str]
    key: str


@dataclass(slots=True)
class Track:
    """What a client knows of one of its films."""

    order: Order
    job: str = ""
    tries: int = 0
    is_done: bool = False


def film_bytes(film: int) -> bytes:
    """The PNG of a film, by its seed."""
    return make_png(pixels=make_pixels(height_px=FILM_SIDE_PX, width_px=FILM_SIDE_PX, seed=film))


class Client(threading.Thread):
    """A thread that lives until its films have ended, or until `deadline` (monotonic).

    Attributes:
        retries: how often it asked again.
        raised: what ended it, or a twin, before its time: a fault of the service, or of the harness.
    """

    def __init__(  # noqa: PLR0913, PLR0917  each is said once, by the trial
        self, name: str, orders: Sequence[Order], target: Target, history: History, began: float, deadline: float
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._target, self._history, self._deadline = target, history, deadline
        self._draw = Random(f"client {name}")  # noqa: S311  repeatable, not secret
        self._agenda: list[tuple[float, int, Callable[[Track], None], Track]] = []
        self._numbers = itertools.count()
        self._twins: list[threading.Thread] = []
        self.retries = 0
        self.raised: list[str] = []
        for order in orders:
            self._plan(began + order.due_s - time.monotonic(), self._submit, Track(order))

    def run(self) -> None:
        """Do what is due, until nothing is left to do."""
        self._guarded(self.name, self._work_off)
        for twin in self._twins:
            twin.join()

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        """A thread's whole work; what ends it early is for the checker to tell."""
        try:
            work()
        except Exception as error:  # noqa: BLE001  a dead thread must not look like a quiet one
            told = "".join(traceback.format_exception_only(error))
            self.raised.append(f"{name} ended early: {told.splitlines()[0]}")

    def _work_off(self) -> None:
        with self._connect() as self._http:
            while self._agenda and time.monotonic() < self._deadline:
                when, _, step, track = self._agenda[0]
                if when > time.monotonic():
                    time.sleep(min(0.05, max(0.0, when - time.monotonic())))
                    continue
                heapq.heappop(self._agenda)
                step(track)

    def _submit(self, track: Track) -> None:
        if track.order.twice == "together" and track.tries == 0:
            self._start_twin(track.order)
        answer = self._post(self._http, self.name, track.order)
        if answer is not None and answer.status_code in {OK, ACCEPTED}:
            self._accepted(track, wire.Job.model_validate_json(answer.content).id)
        elif answer is None or answer.status_code == TOO_MANY or answer.status_code >= BROKEN:
            self._again(self._submit, track, answer)

    def _accepted(self, track: Track, job: str) -> None:
        is_first = not track.job
        track.job, track.tries = job, 0
        if not is_first:
            return
        self._plan(self._draw.uniform(0.1, READ_EVERY_S), self._read, track)
        if track.order.twice == "later":
            self._plan(self._draw.uniform(0.2, 5.0), self._submit, Track(track.order, job, tries=1))
        if track.order.cancel_after_s is not None:
            self._plan(track.order.cancel_after_s, self._cancel, Track(track.order, job))

    def _read(self, track: Track) -> None:
        asked = self._history.invoke(self.name, Action.READ, track.order.key, track.job)
        answer = self._send(self._http, asked, "GET", f"/api/v1/jobs/{track.job}")
        if answer is None or answer.status_code != OK:
            self._again(self._read, track, answer)
            return
        track.tries = 0
        if not wire.Job.model_validate_json(answer.content).done:
            self._plan(READ_EVERY_S, self._read, track)
        elif not track.is_done:  # once more: an end must be the end
            track.is_done = True
            self._plan(self._draw.uniform(1.0, 4.0), self._read, track)

    def _cancel(self, track: Track) -> None:
        asked = self._history.invoke(self.name, Action.CANCEL, track.order.key, track.job)
        answer = self._send(self._http, asked, "POST", f"/api/v1/jobs/{track.job}/cancel")
        if answer is None or answer.status_code >= BROKEN:
            self._again(self._cancel, track, answer)

    def _start_twin(self, order: Order) -> None:
        name = f"{self.name} twin"

        def send_once() -> None:
            with self._connect() as http:
                self._post(http, name, order)

        twin = threading.Thread(target=self._guarded, args=(name, send_once), daemon=True)
        self._twins.append(twin)
        twin.start()

    def _post(self, http: httpx.Client, name: str, order: Order) -> httpx.Response | None:
        asked = self._history.invoke(name, Action.SUBMIT, order.key)
        headers = {"Idempotency-Key": order.key, "Content-Type": "image/png"}
        headers["Cache-Control"] = "no-cache"  # a worker shall answer, whatever is stored
        query = f"?priority={order.priority.value}"
        return self._send(http, asked, "POST", f"/api/v1/jobs{query}", film_bytes(order.film), headers)

    def _send(  # noqa: PLR0913, PLR0917  a request has these parts
        self,
        http: httpx.Client,
        asked: Event,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response | None:
        """Ask any of the web servers; the answer, or None where none came."""
        try:
            answer = http.request(method, self._draw.choice(self._target.urls) + path, content=content, headers=headers)
        except httpx.TransportError as error:
            self._history.end(asked, Outcome.UNKNOWN, error=type(error).__name__)
            return None
        if answer.status_code in {OK, ACCEPTED}:
            job = wire.Job.model_validate_json(answer.content)
            state, attempt = job.status.value, job.attempt
            self._history.end(asked, Outcome.OK, http=answer.status_code, job=job.id, state=state, attempt=attempt)
        else:  # a 5xx may have come after the commit
            outcome = Outcome.UNKNOWN if answer.status_code >= BROKEN else Outcome.FAIL
            self._history.end(asked, outcome, http=answer.status_code, error=answer.text[:200])
        return answer

    def _again(self, step: Callable[[Track], None], track: Track, answer: httpx.Response | None) -> None:
        """Later, after what the service asks for, within bounds."""
        self.retries += 1
        track.tries += 1
        asked_s = float(answer.headers.get("Retry-After", 0)) if answer is not None else 0.0
        own_s = min(0.2 * 2**track.tries, LONGEST_PAUSE_S) * self._draw.uniform(0.5, 1.0)
        self._plan(max(own_s, min(asked_s, LONGEST_PAUSE_S)), step, track)

    def _plan(self, in_s: float, step: Callable[[Track], None], track: Track) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + in_s, next(self._numbers), step, track))

    def _connect(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self._target.key}"}
        return httpx.Client(headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=False)  # noqa: S501  loopback
