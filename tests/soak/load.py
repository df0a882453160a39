"""Load on a running service: all that it takes, to measure its rate; then at a fixed rate. Films are looked at too."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from shared import wire
from tests.factories import make_pixels, make_png

SIDES_PX = (96, 256, 1024)
FILMS = 12
SENDERS = 4
TAKEN = (200, 202)
STORED_EVERY = 8
"""Every eighth film may be answered from the store; the others are computed, though the same ones come again."""
LOOKS = ("/api/v1/jobs/{id}/film", "/api/v1/jobs/{id}/explanations/grad_cam", "/api/v1/jobs?limit=20", "/", "/readyz")
"""What a client looks at once a film is answered, in turn, one look a film."""


def make_films() -> list[bytes]:
    """Some films of several sizes."""
    return [make_png(pixels=make_pixels(height_px=side, width_px=side, seed=n))
            for n in range(FILMS // len(SIDES_PX)) for side in SIDES_PX]  # fmt: skip


@dataclass(slots=True)
class Load:
    """Senders that keep one count.

    Attributes:
        statuses: how the service answered, by 'POST 202', 'GET 200', ...
        accepted: ids of accepted films.
    """

    url: str
    key: str
    films: Sequence[bytes] = field(default_factory=make_films)
    statuses: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)

    def run(self, duration_s: float, per_s: float | None = None) -> None:
        """Send for so long: `per_s` films a second, or as many as are taken."""
        numbers, began = count(), time.monotonic()

        def due_s() -> float:
            number = next(numbers)
            return number / per_s if per_s else 0.0

        senders = [threading.Thread(target=self._send_all, args=(began, duration_s, due_s)) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()

    def _send_all(self, began: float, duration_s: float, due_s: Callable[[], float]) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=30.0, trust_env=False) as http:
            for number in count():
                at = max(time.monotonic(), began + due_s())
                if at >= began + duration_s:
                    return
                time.sleep(at - time.monotonic() if at > time.monotonic() else 0.0)
                self._send(http, number)

    def _send(self, http: httpx.Client, number: int) -> None:
        film = self.films[number % len(self.films)]
        fresh = {} if number % STORED_EVERY == 0 else {"Cache-Control": "no-cache"}
        answer = self._ask(http, "POST", "/api/v1/jobs", content=film, headers={"Content-Type": "image/png", **fresh})
        if answer is not None and answer.status_code in TAKEN:
            self.accepted.append(wire.Job.model_validate_json(answer.content).id)
        if self.accepted:  # one that came a while ago
            earlier = self.accepted[-min(len(self.accepted), 50)]
            job = self._ask(http, "GET", f"/api/v1/jobs/{earlier}")
            if job is not None and wire.Job.model_validate_json(job.content).done:
                self._ask(http, "GET", LOOKS[number % len(LOOKS)].format(id=earlier))

    def _ask(self, http: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response | None:
        try:
            answer = http.request(method, path, **more)
        except httpx.TransportError as error:
            self.statuses[f"{method} {type(error).__name__}"] += 1
            return None
        self.statuses[f"{method} {answer.status_code}"] += 1
        return answer
