"""A small client of the API for the command line: submits with its own idempotency key, survives failed questions."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

import httpx

from shared import audit_wire, webhook_wire, wire
from shared.errors import AppError, NotAllowed, TenantWaitersFull, Unavailable, WaitersFull
from shared.health_wire import Readiness
from shared.settings import Settings

PATIENCE_S = 60.0
"""How long a service that does not answer is asked again."""

CONNECT_PATIENCE_S = 3.0
"""The same at a command's first question, where nothing listens: it is not running, most often."""

HOLD_S = 20
"""How long the service is asked to hold a question; less than the 30 s after which an answer counts as lost."""

BEFORE = frozenset({429, 503, 507})
"""The service says: not now. Nothing was begun."""

ON_THE_WAY = frozenset({502, 504})
"""Something between says so; what became of the request is not known."""

NO_PLACE_TO_WAIT = frozenset({WaitersFull.code, TenantWaitersFull.code})
"""The service holds as many questions as it can: it is asked without `Prefer` then."""

PAGE = 200
"""Jobs of one page of the list, as many as it has at most."""


WEBHOOKS = "/api/v1/webhooks"


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
        headers = _new_key() | _described(data)
        response = self._ask("POST", "/api/v1/jobs", params=wishes, headers=headers, content=data)
        return wire.Job.model_validate_json(response.content)

    def classify_again(self, job_id: str, key: str, priority: str) -> wire.Job:
        """A new job for the film of one that has ended, or the one that this key made; raises as `submit` does."""
        path, headers = f"/api/v1/jobs/{job_id}/again", {"Idempotency-Key": key}
        response = self._ask("POST", path, params={"priority": priority}, headers=headers)
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

    def all_jobs(self, since: str | None) -> Iterator[wire.Job]:
        """Every job, the newest first, or those made since then; what is made meanwhile is not among them."""
        query = {"limit": str(PAGE)} | ({} if since is None else {"since": since})
        cursor: str | None = ""
        while cursor is not None:
            asked = query | ({"cursor": cursor} if cursor else {})
            page = wire.JobList.model_validate_json(self._ask("GET", "/api/v1/jobs", params=asked).content)
            yield from page.jobs
            cursor = page.next_cursor

    def get_audit(self, job_id: str) -> audit_wire.AuditTrail:
        """All that happened to a job, the oldest first.

        Raises:
            Refused: there is no such job, or its trail is not for this key.
            NotAllowed, Unavailable: as `submit`.
        """
        events: list[audit_wire.AuditEvent] = []
        cursor = 0
        while True:
            found = self._ask("GET", f"/api/v1/jobs/{job_id}/audit", params={"cursor": str(cursor)})
            page = audit_wire.AuditTrail.model_validate_json(found.content)
            events += page.events
            if page.next_cursor is None:
                return page.model_copy(update={"events": events})
            cursor = page.next_cursor

    def readiness(self) -> Readiness:
        """What the service has, part by part."""
        return Readiness.model_validate_json(self._ask("GET", "/readyz").content)

    def add_webhook(self, url: str) -> webhook_wire.WebhookSecret:
        """An address that the ends of jobs are told to, with its secret; raises as `submit` does."""
        found = self._ask("POST", WEBHOOKS, is_once=True, json={"url": url})
        return webhook_wire.WebhookSecret.model_validate_json(found.content)

    def list_webhooks(self) -> webhook_wire.WebhookList:
        """All of the tenant."""
        return webhook_wire.WebhookList.model_validate_json(self._ask("GET", WEBHOOKS).content)

    def rotate_webhook(self, webhook_id: str) -> webhook_wire.WebhookSecret:
        """Another secret for it."""
        found = self._ask("POST", f"{WEBHOOKS}/{webhook_id}/rotate", is_once=True)
        return webhook_wire.WebhookSecret.model_validate_json(found.content)

    def remove_webhook(self, webhook_id: str) -> None:
        """Tell it nothing any more."""
        self._ask("DELETE", f"{WEBHOOKS}/{webhook_id}", is_once=True)

    def ping_webhook(self, webhook_id: str) -> webhook_wire.Delivery:
        """Have it sent something that says nothing."""
        found = self._ask("POST", f"{WEBHOOKS}/{webhook_id}/test", is_once=True)
        return webhook_wire.Delivery.model_validate_json(found.content)

    def list_deliveries(self, webhook_id: str, **query: str) -> webhook_wire.DeliveryList:
        """A page of its deliveries, newest first."""
        found = self._ask("GET", f"{WEBHOOKS}/{webhook_id}/deliveries", params=query)
        return webhook_wire.DeliveryList.model_validate_json(found.content)

    def replay_delivery(self, webhook_id: str, delivery_id: str) -> webhook_wire.Delivery:
        """Have one sent again."""
        found = self._ask("POST", f"{WEBHOOKS}/{webhook_id}/deliveries/{delivery_id}/replay", is_once=True)
        return webhook_wire.Delivery.model_validate_json(found.content)

    def replay_failed(self, webhook_id: str, since: str) -> int:
        """Have all sent again that failed since then (ISO 8601 with its zone); how many."""
        found = self._ask("POST", f"{WEBHOOKS}/{webhook_id}/replay", is_once=True, json={"since": since})
        return webhook_wire.Replayed.model_validate_json(found.content).deliveries

    def wait(self, job_id: str, every_s: float = 0.25) -> wire.Job:
        """The job once it is done: the service holds the question until then; where it does not, polls."""
        while True:
            response = self._ask_held(f"/api/v1/jobs/{job_id}")
            job = wire.Job.model_validate_json(response.content)
            if job.done:
                return job
            if "Preference-Applied" not in response.headers:
                time.sleep(every_s)

    def _ask_held(self, path: str) -> httpx.Response:
        """A GET that the service holds for up to `HOLD_S`, or answers at once where it holds too many already."""
        try:
            return self._ask("GET", path, final=NO_PLACE_TO_WAIT, headers={"Prefer": f"wait={HOLD_S}"})
        except Refused as error:
            if error.problem_code not in NO_PLACE_TO_WAIT:
                raise
            return self._ask("GET", path)

    def _ask(
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
            Refused, NotAllowed: what the service says to it.
            Unavailable: no answer within the patience, or with `is_once` one was lost.
        """
        again = BEFORE if is_once else BEFORE | ON_THE_WAY
        asked = time.monotonic()
        give_up_at = asked + self._patience_s
        while True:
            pause = 1.0
            try:
                response = self._http.request(method, path, **arguments)  # type: ignore[arg-type]
            except httpx.TransportError as error:
                if isinstance(error, httpx.ConnectError) and not self._has_answered:
                    give_up_at = min(give_up_at, asked + self._connect_patience_s)
                if is_once and not isinstance(error, httpx.ConnectError):
                    raise Unavailable("The answer was lost, and whether it was done is not known: look.") from error
                if time.monotonic() >= give_up_at:
                    raise Unavailable(f"{self._http.base_url} does not answer. Is `plainfilm up` running?") from error
            else:
                self._has_answered = True
                is_final = response.status_code not in again or _problem_code(response) in final
                if is_final or time.monotonic() >= give_up_at:
                    return _checked(response)
                pause = _pause_s(response, pause)
            time.sleep(min(pause, max(0.0, give_up_at - time.monotonic())))


def open_client(settings: Settings) -> Client:
    """A client of this machine's service, or of the one that is set.

    Raises:
        NotAllowed: there is no key.
    """
    if settings.client_key is None:
        raise NotAllowed("No key: set PLAINFILM_KEY, or start the service here with `plainfilm up`.")
    return Client(settings.service_url, settings.client_key, connect_patience_s=CONNECT_PATIENCE_S)


def _new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def _described(data: bytes) -> dict[str, str]:
    """A film as a raw body: cheaper to read than a form; and what its bytes are, so that damage is noticed."""
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"}


def _pause_s(response: httpx.Response, default_s: float) -> float:
    """What `Retry-After` asks for, where it counts seconds; a date is some proxy's."""
    given = response.headers.get("Retry-After", "")
    return float(given) if given.isascii() and given.isdigit() else default_s


def _find_problem(response: httpx.Response) -> wire.Problem | None:
    """What the service says is wrong; None where it does not, or something between answered."""
    try:
        return wire.Problem.model_validate_json(response.content)
    except ValueError:
        return None


def _problem_code(response: httpx.Response) -> str | None:
    problem = _find_problem(response)
    return problem.code if problem else None


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    problem = _find_problem(response)
    if problem is None:
        raise Unavailable(f"The service answered {response.status_code} without a reason.")
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise NotAllowed(problem.detail)
    raise Refused(problem.detail, problem.code)
