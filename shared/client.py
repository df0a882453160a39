"""A small client of the API for the command line: submits with its own idempotency key, survives failed questions."""

from __future__ import annotations

import time
import uuid
from types import TracebackType
from typing import Protocol, Self

import httpx

from shared import wire
from shared.errors import AppError, NotAllowed, Unavailable

PATIENCE_S = 60.0
"""How long a service that does not answer is asked again."""

CONNECT_PATIENCE_S = 3.0
"""The same at a command's first question, where nothing listens: it is not running, most often."""

HOLD_S = 20
"""How long the service is asked to hold a question; less than the 30 s after which an answer counts as lost."""


class Refused(AppError):
    """The service refused the request; `code` of the problem is in `problem_code`."""

    code = "refused"
    status = 422
    title = "The service refused the request"

    def __init__(self, detail: str, problem_code: str) -> None:
        super().__init__(detail)
        self.problem_code = problem_code


class Readable(Protocol):
    """Where a film's bytes are: a file, say."""

    def read_bytes(self) -> bytes:
        """All of them."""
        ...


class Client:
    """Talks to one service with one key.

    Args:
        url: of the service, e.g. 'http://127.0.0.1:8000'.
        key: 'pf_…'.
        patience_s: how long to keep asking a service that does not answer.
        transport: what carries the requests; tests give their own.
        connect_patience_s: how long to keep asking where nothing listens and it has never answered.
    """

    def __init__(
        self,
        url: str,
        key: str,
        patience_s: float = PATIENCE_S,
        transport: httpx.BaseTransport | None = None,
        connect_patience_s: float = PATIENCE_S,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=30.0, transport=transport)
        self._patience_s = patience_s
        self._connect_patience_s = connect_patience_s
        self._has_answered = False

    def __enter__(self) -> Self:
        """Usable in a `with` block."""
        return self

    def address_of(self, path: str) -> str:
        """A path of the service as a browser opens it."""
        return str(self._http.base_url.join(path))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, film: Readable, priority: str = "routine", batch_id: str | None = None) -> wire.Job:
        """Send one film, into a batch if it is named; a lost answer is asked for again and makes no second job.

        Raises:
            RefusedUpload, OSError: it cannot be read.
            Refused: the film was refused; says why.
            NotAllowed: the key is not valid.
            Unavailable: the service did not answer in time.
        """
        data = film.read_bytes()
        wishes = {"priority": priority} | ({} if batch_id is None else {"batch": batch_id})
        response = self._ask("POST", "/api/v1/jobs", params=wishes, headers=_new_key(), files={"file": ("film", data)})
        return wire.Job.model_validate_json(response.content)

    def make_batch(self) -> wire.Batch:
        """An empty batch; raises as `submit` does."""
        return wire.Batch.model_validate_json(self._ask("POST", "/api/v1/batches", headers=_new_key()).content)

    def get_batch(self, batch_id: str) -> wire.Batch:
        """The batch as it is now."""
        return wire.Batch.model_validate_json(self._ask("GET", f"/api/v1/batches/{batch_id}").content)

    def get(self, job_id: str) -> wire.Job:
        """The job as it is now."""
        return wire.Job.model_validate_json(self._ask("GET", f"/api/v1/jobs/{job_id}").content)

    def jobs(self, limit: int = 1) -> wire.JobList:
        """The newest jobs."""
        return wire.JobList.model_validate_json(self._ask("GET", "/api/v1/jobs", params={"limit": str(limit)}).content)

    def wait(self, job_id: str, every_s: float = 0.25) -> wire.Job:
        """The job once it is done: the service holds the question until then; where it does not, polls."""
        while True:
            response = self._ask("GET", f"/api/v1/jobs/{job_id}", headers={"Prefer": f"wait={HOLD_S}"})
            job = wire.Job.model_validate_json(response.content)
            if job.done:
                return job
            if "Preference-Applied" not in response.headers:
                time.sleep(every_s)

    def _ask(self, method: str, path: str, **arguments: object) -> httpx.Response:
        asked = time.monotonic()
        give_up_at = asked + self._patience_s
        while True:
            pause = 1.0
            try:
                response = self._http.request(method, path, **arguments)  # type: ignore[arg-type]
            except httpx.TransportError as error:
                if isinstance(error, httpx.ConnectError) and not self._has_answered:
                    give_up_at = min(give_up_at, asked + self._connect_patience_s)
                if time.monotonic() >= give_up_at:
                    raise Unavailable(f"{self._http.base_url} does not answer. Is `plainfilm up` running?") from error
            else:
                self._has_answered = True
                if response.status_code not in (429, 502, 503, 504) or time.monotonic() >= give_up_at:
                    return _checked(response)
                pause = _pause_s(response, pause)
            time.sleep(min(pause, max(0.0, give_up_at - time.monotonic())))


def _new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def _pause_s(response: httpx.Response, default_s: float) -> float:
    """What `Retry-After` asks for, where it counts seconds; a date is some proxy's."""
    given = response.headers.get("Retry-After", "")
    return float(given) if given.isascii() and given.isdigit() else default_s


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    try:
        problem = wire.Problem.model_validate_json(response.content)
    except ValueError:
        raise Unavailable(f"The service answered {response.status_code} without a reason.") from None
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise NotAllowed(problem.detail)
    raise Refused(problem.detail, problem.code)
