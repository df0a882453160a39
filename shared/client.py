"""A small client of the API for the command line: it sends idempotency keys and retries requests that failed."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final, Protocol, Self

import httpx

from shared import audit_wire, wire
from shared.errors import AppError, JobDeleted, NotAllowed, TenantWaitersFull, Unavailable, WaitersFull
from shared.health_wire import Readiness
from shared.settings import Settings
from shared.webhook_client import WebhookClient

PATIENCE_S: Final = 60.0
"""For how long a request is retried while the service does not answer."""

CONNECT_PATIENCE_S: Final = 3.0
"""The same for a command's first request where nothing listens: most often the service is not running."""

RETRY_PAUSE_S: Final = 1.0
"""Pause before a retry where the service names none."""

HOLD_S: Final = 20
"""How long the service is asked to hold a request; less than the 30 s after which an answer counts as lost."""

NOT_STARTED_STATUSES: Final = frozenset({429, 503, 507})
"""The service is overloaded, unavailable or full: it has not begun the request."""

GATEWAY_STATUSES: Final = frozenset({502, 504})
"""A proxy's statuses: whether the service has done the request is not known."""

WAITERS_FULL_CODES: Final = frozenset({WaitersFull.code, TenantWaitersFull.code})
"""The service holds as many requests as it can: the client then asks without `Prefer`."""

NOT_TRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
"""In the words of a transport error: Python's `ssl` refuses the certificate."""

PAGE_SIZE: Final = 200
"""Jobs of one page of the list, the most that the service gives."""


Outcome = httpx.Response | httpx.TransportError
"""Of one try of a request."""


class Refused(AppError):
    """The service refused the request; `code` of the problem is in `problem_code`."""

    code = "refused"
    status = 422
    title = "The service refused the request"

    def __init__(self, detail: str, problem_code: str) -> None:
        super().__init__(detail)
        self.problem_code = problem_code


class Readable(Protocol):
    """A source of a film's bytes, such as a file."""

    def read_bytes(self) -> bytes:
        """Return all bytes."""
        ...


class Client:
    """Talks to one service with one key.

    Args:
        url: of the service, e.g. 'http://127.0.0.1:8000'.
        key: 'pf_…'.
        patience_s: for how long to retry while the service does not answer.
        transport: sends the requests; tests give their own.
        connect_patience_s: for how long to retry where nothing listens and the service has never answered.

    Attributes:
        webhooks: the calls for webhooks.
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
        self.webhooks = WebhookClient(self.ask)

    def __enter__(self) -> Self:
        """Usable in a `with` block."""
        return self

    def address_of(self, path: str) -> str:
        """Return the URL of a path of the service, for a browser."""
        return str(self._http.base_url.join(path))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, film: Readable, priority: str = "routine", batch_id: str | None = None) -> wire.Job:
        """Submit one film, into a batch if one is named; a retry after a lost answer makes no second job.

        Raises:
            RefusedUpload, OSError: the film cannot be read.
            Refused: the service refused the film; says why.
            NotAllowed: the key is not valid.
            Unavailable: the service did not answer in time.
        """
        data = film.read_bytes()
        query = {"priority": priority} | ({} if batch_id is None else {"batch": batch_id})
        headers = _new_key() | _content_headers(data)
        response = self.ask("POST", "/api/v1/jobs", params=query, headers=headers, content=data)
        return wire.Job.model_validate_json(response.content)

    def classify_again(self, job_id: str, key: str, priority: str) -> wire.Job:
        """Return a new job for the film of an ended one, or the job that `key` made before; raises as `submit` does."""
        path, headers = f"/api/v1/jobs/{job_id}/again", {"Idempotency-Key": key}
        response = self.ask("POST", path, params={"priority": priority}, headers=headers)
        return wire.Job.model_validate_json(response.content)

    def make_batch(self) -> wire.Batch:
        """Make an empty batch; raises as `submit` does."""
        return wire.Batch.model_validate_json(self.ask("POST", "/api/v1/batches", headers=_new_key()).content)

    def get_batch(self, batch_id: str) -> wire.Batch:
        """Return the batch as it is now."""
        return wire.Batch.model_validate_json(self.ask("GET", f"/api/v1/batches/{batch_id}").content)

    def get(self, job_id: str) -> wire.Job:
        """Return the job as it is now."""
        return wire.Job.model_validate_json(self.ask("GET", f"/api/v1/jobs/{job_id}").content)

    def cancel(self, job_id: str) -> wire.Job:
        """Cancel a job that has not ended, and return it; Refused where it has."""
        return wire.Job.model_validate_json(self.ask("POST", f"/api/v1/jobs/{job_id}/cancel").content)

    def delete(self, job_id: str) -> None:
        """Delete a job with its film permanently; one that is already deleted is no error."""
        try:
            self.ask("DELETE", f"/api/v1/jobs/{job_id}")
        except Refused as error:
            if error.problem_code != JobDeleted.code:
                raise

    def jobs(self, limit: int = 1) -> wire.JobList:
        """Return the newest jobs."""
        return wire.JobList.model_validate_json(self.ask("GET", "/api/v1/jobs", params={"limit": str(limit)}).content)

    def all_jobs(self, filters: Mapping[str, str], page_size: int = PAGE_SIZE) -> Iterator[wire.Job]:
        """Yield the jobs to which the filters apply, newest first; jobs made meanwhile are left out.

        Args:
            filters: parameters of `GET /api/v1/jobs`, such as `status` and `since`.
            page_size: the number of jobs that a request asks for.
        """
        cursor: str | None = ""
        while cursor is not None:
            params = {"limit": str(page_size), **filters} | ({"cursor": cursor} if cursor else {})
            page = wire.JobList.model_validate_json(self.ask("GET", "/api/v1/jobs", params=params).content)
            yield from page.jobs
            cursor = page.next_cursor

    def get_audit(self, job_id: str) -> audit_wire.AuditTrail:
        """Return all audit events of a job, oldest first.

        Raises:
            Refused: there is no such job, or its trail is not for this key.
            NotAllowed, Unavailable: as `submit`.
        """
        events: list[audit_wire.AuditEvent] = []
        cursor = 0
        while True:
            response = self.ask("GET", f"/api/v1/jobs/{job_id}/audit", params={"cursor": str(cursor)})
            page = audit_wire.AuditTrail.model_validate_json(response.content)
            events += page.events
            if page.next_cursor is None:
                return page.model_copy(update={"events": events})
            cursor = page.next_cursor

    def readiness(self) -> Readiness:
        """Return which parts of the service are ready."""
        return Readiness.model_validate_json(self.ask("GET", "/readyz").content)

    def wait(self, job_id: str, every_s: float = 0.25) -> wire.Job:
        """Return the job once it is done: the service holds the request until then, else the client polls."""
        while True:
            response = self._ask_held(f"/api/v1/jobs/{job_id}")
            job = wire.Job.model_validate_json(response.content)
            if job.done:
                return job
            if "Preference-Applied" not in response.headers:
                time.sleep(every_s)

    def _ask_held(self, path: str) -> httpx.Response:
        """Send a GET that the service holds for up to `HOLD_S`, or answers at once where it holds too many already."""
        try:
            return self.ask("GET", path, final=WAITERS_FULL_CODES, headers={"Prefer": f"wait={HOLD_S}"})
        except Refused as error:
            if error.problem_code not in WAITERS_FULL_CODES:
                raise
            return self.ask("GET", path)

    def ask(
        self,
        method: str,
        path: str,
        *,
        is_once: bool = False,
        final: frozenset[str] = frozenset(),
        **arguments: object,
    ) -> httpx.Response:
        """Send a request; retry on transport errors, and on statuses that mean "not now" or come from a gateway.

        Args:
            is_once: the request must not be done twice: retry only where the server cannot have begun it.
            final: problem codes that are not retried though their status would be.
            arguments: of `httpx.Client.request`.

        Raises:
            Refused, NotAllowed: the service's answer, with its words.
            Unavailable: no answer within the patience, or with `is_once` an answer was lost.
        """
        started_at, patience_s = time.monotonic(), self._patience_s
        while True:
            outcome = self._try_once(method, path, arguments)
            if isinstance(outcome, httpx.ConnectError) and not self._has_answered:
                patience_s = min(patience_s, self._connect_patience_s)
            left_s = started_at + patience_s - time.monotonic()
            if left_s <= 0 or not _may_retry(outcome, final, is_once=is_once):
                return self._conclude(outcome, is_once=is_once)
            time.sleep(min(_pause_s(outcome), left_s))

    def _try_once(self, method: str, path: str, arguments: Mapping[str, object]) -> Outcome:
        """Send a request; return the response, whatever its status, or the transport error."""
        try:
            response = self._http.request(method, path, **arguments)  # type: ignore[arg-type]
        except httpx.TransportError as error:
            return error
        self._has_answered = True
        return response

    def _conclude(self, outcome: Outcome, *, is_once: bool) -> httpx.Response:
        """Return a successful response; raise for any other outcome, see `ask`."""
        if isinstance(outcome, httpx.Response):
            return _checked(outcome)
        if is_once and not isinstance(outcome, httpx.ConnectError):
            lost = "The response was lost, so it is not known whether the request took effect: check."
            raise Unavailable(lost) from outcome
        address = self._http.base_url
        if NOT_TRUSTED in str(outcome):
            how = "set SSL_CERT_FILE to a file with the authority that signed it"
            raise Unavailable(f"{address} shows a certificate that is not trusted here: {how}.") from outcome
        raise Unavailable(f"{address} does not answer. Is `plainfilm up` running?") from outcome


def open_client(settings: Settings) -> Client:
    """Return a client of the service that the settings name, else of this machine's.

    Raises:
        NotAllowed: there is no key.
    """
    if settings.client_key is None:
        raise NotAllowed("No key: set PLAINFILM_KEY, or start the service here with `plainfilm up`.")
    return Client(settings.service_url, settings.client_key, connect_patience_s=CONNECT_PATIENCE_S)


def _new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def _content_headers(data: bytes) -> dict[str, str]:
    """Describe a raw body, which is cheaper to parse than a form; by its digest the service detects damage."""
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"}


def _may_retry(outcome: Outcome, final: frozenset[str], *, is_once: bool) -> bool:
    """Whether the request may be sent again, and may then be answered otherwise."""
    if isinstance(outcome, httpx.TransportError):
        return not is_once or isinstance(outcome, httpx.ConnectError)
    statuses = NOT_STARTED_STATUSES if is_once else NOT_STARTED_STATUSES | GATEWAY_STATUSES
    return outcome.status_code in statuses and _problem_code(outcome) not in final


def _pause_s(outcome: Outcome) -> float:
    """Seconds until the next try: from `Retry-After` where it counts seconds; a date there is some proxy's."""
    header = outcome.headers.get("Retry-After", "") if isinstance(outcome, httpx.Response) else ""
    return float(header) if header.isascii() and header.isdigit() else RETRY_PAUSE_S


def _find_problem(response: httpx.Response) -> wire.Problem | None:
    """Return the problem in the body; None where it holds none, as where a proxy answered."""
    try:
        return wire.Problem.model_validate_json(response.content)
    except ValueError:
        return None


def _problem_code(response: httpx.Response) -> str | None:
    problem = _find_problem(response)
    return problem.code if problem else None


def _checked(response: httpx.Response) -> httpx.Response:
    """Return a successful response; raise Refused, NotAllowed or Unavailable for any other."""
    if response.is_success:
        return response
    problem = _find_problem(response)
    if problem is None:
        limit = response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
        whose = ": a proxy in front of it has a smaller limit on the size of uploads" if limit else ""
        raise Unavailable(f"The service answered {response.status_code} without a reason{whose}.")
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise NotAllowed(problem.detail)
    raise Refused(problem.detail, problem.code)
