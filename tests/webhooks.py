"""Webhooks for tests: a real receiver on a socket, and a dispatcher over a database."""

from __future__ import annotations

import json
import random
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sqlalchemy import select
from standardwebhooks import Webhook as Verifier

from shared import webhook_wire as wire
from shared.db import audit, audit_comparison, deliveries, jobs, webhook_queries, webhooks
from shared.db.deliveries import Answer, DeliveryClaim
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.db.tables import AuditEvent
from shared.db.webhooks import NewWebhook
from shared.domain import DeliveryState, Role
from shared.webhooks import signature, targets
from shared.webhooks.dispatch import Dispatcher
from shared.webhooks.post import Poster
from shared.wiring import new_job_id
from tests.jobs import make_job
from tests.waiting import LIMIT_S

NOWHERE = "http://127.0.0.1:9/hook"
"""Where nobody listens."""

ADMIN = Principal("adminkey", "default", Role.ADMIN)

Act = Callable[[BaseHTTPRequestHandler], None]
"""What a receiver does instead of a plain answer."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Of the delivery."""
        return self.headers["webhook-id"]

    def check(self, secret: str) -> wire.JobEnded | wire.Ping:
        """By the independent library: signed with this secret, just now; what it says.

        Raises:
            WebhookVerificationError: it is not.
        """
        told = Verifier(secret).verify(self.body, self.headers)
        return (wire.Ping if told["type"] == "ping" else wire.JobEnded).model_validate(told)


@dataclass(slots=True)
class Receiver:
    """What it was sent, and what it answers: each of `answers` once, the last one again and again."""

    url: str
    answers: list[int | Act]
    received: list[Received] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: Received) -> int | Act:
        """Note it; what it is answered."""
        with self.lock:
            self.received.append(request)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def ids(self) -> list[str]:
        """Of the deliveries that came, in their order."""
        return [request.id for request in self.received]

    def job_ids(self) -> list[str]:
        """Of the jobs that were told, in their order."""
        return [json.loads(request.body)["data"]["id"] for request in self.received]


@contextmanager
def receiving(*answers: int | Act, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Receiver]:
    """A receiver on a free port of this machine, until the block ends; with `tls` it speaks HTTPS."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return  # who sent it died midway
            found = receiver.take(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if callable(found):
                found(self)
                return
            self.send_response(found)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nothing on the terminal."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """Who sends may leave midway."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme = "http" if tls is None else "https"
    receiver = Receiver(f"{scheme}://{host}:{server.server_address[1]}/hook", list(answers) or [204])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_webhook(database: Database, url: str, who: Principal = ADMIN) -> tuple[str, str]:
    """A webhook; its id and its secret."""
    new = NewWebhook(new_job_id(), url, signature.make_secret())
    with database.begin_core() as sql:
        webhooks.make_webhook(sql, who, new, database.now(sql))
    return new.id, new.secret


def make_dispatcher(
    database: Database, *, whole_s: float = LIMIT_S, resolve: targets.Resolve = targets.resolve
) -> Dispatcher:
    """One that may send to this machine."""
    poster = Poster(resolve, allow_private=True, whole_s=whole_s)
    return Dispatcher(database, poster, new_job_id, random.Random(7))  # noqa: S311  jitter


def tell(dispatcher: Dispatcher, room: int = 8) -> int:
    """One look, and one try of each delivery that is due then; how many tries."""
    dispatcher.look()
    claims = dispatcher.claim(room)
    for held in claims:
        dispatcher.deliver(held)
    return len(claims)


def cancel_job(database: Database, *, tenant: str = "default", batch_id: str | None = None) -> str:
    """A job that has ended."""
    job_id = make_job(database, tenant=tenant, batch_id=batch_id)
    with jobs.changing(database) as changes:
        changes.cancel(tenant, job_id, "key:testkey")
    return job_id


def list_deliveries(database: Database, webhook_id: str, tenant: str = "default") -> Sequence[wire.Delivery]:
    """Those of a webhook, the oldest first."""
    with database.read_core() as sql:
        query = wire.DeliveryQuery(limit=200)
        found = webhook_queries.list_deliveries(sql, tenant, webhook_id, query).deliveries
    return list(reversed(found))


def get_webhook(database: Database, webhook_id: str) -> wire.Webhook:
    """As its admin is told of it."""
    with database.read_core() as sql:
        return webhook_queries.get_webhook(sql, "default", webhook_id)


def claim_all(database: Database, room: int = 100) -> list[DeliveryClaim]:
    """What is due, without sending it."""
    with database.begin_core() as sql:
        return deliveries.claim(sql, database.now(sql), room)


def note(database: Database, held: DeliveryClaim, answer: Answer, retry_in_s: float = 5.0) -> DeliveryState | None:
    """What came of a try."""
    with database.begin_core() as sql:
        return deliveries.note(sql, held, answer, retry_in_s, database.now(sql))


def states(database: Database, webhook_id: str) -> list[str]:
    """Of a webhook's deliveries, the oldest first."""
    return [found.status.value for found in list_deliveries(database, webhook_id)]


def actions(database: Database, subject: str) -> list[str]:
    """What the audit has of it; chain and rows hold."""
    with database.read() as session:
        assert audit.verify(session)[1] is None
        assert audit_comparison.compare(session)[1] is None
        rows = select(AuditEvent.action).where(AuditEvent.subject == subject).order_by(AuditEvent.seq)
        return list(session.scalars(rows))
