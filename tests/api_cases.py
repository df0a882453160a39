"""A request for each answer that the OpenAPI document describes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from werkzeug.test import TestResponse

from shared.db import jobs
from shared.domain import Priority
from shared.errors import TooSlow
from tests.api import Api, make_key
from tests.explanations import explain, fail_explanation
from tests.factories import make_jpeg, make_png
from tests.fakes import RecordingQueue
from tests.jobs import claim, finish, make_batch, make_job
from web import explain as explain_use_case
from web.app import WAITING_ROOM

UNKNOWN = "01997000-0000-7000-8000-000000000000"


def succeed(api: Api) -> str:
    """A job with a result."""
    job_id = make_job(api.resources.database)
    finish(api.resources.database, claim(api.resources.database)[0])
    return job_id


def fail(api: Api) -> str:
    """A job that failed."""
    job_id = make_job(api.resources.database)
    (held,) = claim(api.resources.database)
    with jobs.changing(api.resources.database) as changes:
        changes.fail(held, "worker:w1", "blob_missing", "The stored film is missing.")
    return job_id


def auditor(api: Api) -> Api:
    """The same application with a key that may only look."""
    return Api(api.resources, make_key(api.resources.database, role="auditor"))


def uploader(api: Api) -> Api:
    """With a key that may send films and looks at others' alone."""
    return Api(api.resources, make_key(api.resources.database, role="uploader"))


def audit_own_deleted(api: Api) -> TestResponse:
    """Of a film that this key sent, and an admin deleted."""
    sender = uploader(api)
    job_id = delete(api, (sender.submit().json or {})["id"])
    return sender.get(AUDIT.format(job_id=job_id))


def ask_again(api: Api) -> TestResponse:
    """For a job that has not changed."""
    path = f"/api/v1/jobs/{make_job(api.resources.database)}"
    return api.get(path, {"If-None-Match": api.get(path).headers["ETag"]})


def cancel(api: Api, job_id: str) -> TestResponse:
    """POST without a body."""
    return api.request("POST", f"/api/v1/jobs/{job_id}/cancel")


def delete(api: Api, job_id: str) -> str:
    """Delete a job; its id."""
    assert api.request("DELETE", f"/api/v1/jobs/{job_id}").status_code == 204
    return job_id


def ask(api: Api, job_id: str, method: str = "gradient") -> TestResponse:
    """For an explanation."""
    return api.request("POST", f"/api/v1/jobs/{job_id}/explanations", json={"method": method})


def get_map(api: Api, name: str) -> TestResponse:
    """Of a job with a result."""
    return api.get(f"/api/v1/jobs/{succeed(api)}/explanations/{name}")


def ask_and_get(api: Api, suffix: str = "") -> TestResponse:
    """An explanation that is not computed yet."""
    job_id = succeed(api)
    ask(api, job_id)
    return api.get(f"/api/v1/jobs/{job_id}/explanations/gradient{suffix}")


def ask_and_list(api: Api) -> TestResponse:
    """Of a job with the verdict's map, judged, and one that failed."""
    job_id = succeed(api)
    for method in ("grad_cam", "gradient", "smooth_grad"):
        ask(api, job_id, method)
    explain(api.resources.database)
    fail_explanation(api.resources.database)
    return api.get(f"/api/v1/jobs/{job_id}/explanations")


def ask_twice(api: Api) -> TestResponse:
    """For one that is done."""
    job_id = succeed(api)
    ask(api, job_id)
    explain(api.resources.database)
    return ask(api, job_id)


def ask_too_often(api: Api) -> TestResponse:
    """While as many wait as may."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain_use_case, "MOST_WAITING", 1)
        ask(api, succeed(api))
        return ask(api, succeed(api))


def say(api: Api, job_id: str, label: str = "normal") -> TestResponse:
    """What a reader sees."""
    return api.request("POST", f"/api/v1/jobs/{job_id}/reviews", json={"label": label})


def say_and_list(api: Api) -> TestResponse:
    """Of a job with reviews of two readers."""
    job_id = succeed(api)
    for reader in (api, Api(api.resources, make_key(api.resources.database, role="reviewer"))):
        say(reader, job_id, "covid19")
    return api.get(f"/api/v1/jobs/{job_id}/reviews")


def submit_where(api: Api, **limits: int) -> TestResponse:
    """Send a film to a service with other limits, where another film waits already."""
    make_job(api.resources.database)
    settings = api.resources.settings.model_copy(update=limits)
    return Api(replace(api.resources, settings=settings), api.key).submit()


class Late(io.BytesIO):
    """A body whose time is over, as gevent tells its reader."""

    def read(self, _size: int | None = -1) -> bytes:
        """Nothing came."""
        raise TooSlow("It did not come in time.")

    def readinto(self, _buffer: object) -> int:
        """Likewise."""
        raise TooSlow("It did not come in time.")


def send_late(api: Api, path: str, kind: str) -> TestResponse:
    """A body that does not come."""
    return api.request("POST", path, {"Content-Type": kind}, input_stream=Late(),
                       environ_overrides={"CONTENT_LENGTH": "10"})  # fmt: skip


def submit_again(api: Api) -> TestResponse:
    """A film whose job has ended, by the same key."""
    key = {"Idempotency-Key": "k"}
    job_id = (api.submit(headers=key).json or {})["id"]
    cancel(api, job_id)
    return api.submit(headers=key)


class DeletingQueue(RecordingQueue):
    """One whose ring comes with the job's deletion: what an admin may do while its sender waits."""

    def __init__(self, api: Api) -> None:
        super().__init__()
        self.api = api

    def classify(self, job_id: str, priority: Priority) -> bool:
        """Delete it."""
        delete(self.api, job_id)
        return super().classify(job_id, priority)


def classify_again(api: Api, job_id: str, headers: dict[str, str] | None = None) -> TestResponse:
    """The film of a job."""
    return api.request("POST", AGAIN.format(job_id=job_id), headers)


def send_and_cancel(api: Api) -> str:
    """A job with a stored film that has ended."""
    job_id: str = (api.submit().json or {})["id"]
    cancel(api, job_id)
    return job_id


def classify_again_twice(api: Api, *, is_same: bool) -> TestResponse:
    """By the same key, for the same job, whose new one has ended, or for another."""
    key, job_id = {"Idempotency-Key": "k"}, send_and_cancel(api)
    cancel(api, (classify_again(api, job_id, key).json or {})["id"])
    return classify_again(api, job_id if is_same else send_and_cancel(api), key)


def again_where(api: Api, **limits: int) -> TestResponse:
    """In a service with other limits, where another film waits already."""
    job_id = send_and_cancel(api)
    make_job(api.resources.database)
    settings = api.resources.settings.model_copy(update=limits)
    return classify_again(Api(replace(api.resources, settings=settings), api.key), job_id)


def follow(api: Api, job_id: str, **headers: str) -> TestResponse:
    """The events of a job that has ended."""
    return api.get(f"/api/v1/jobs/{job_id}/events", headers)


def crowded(api: Api) -> Api:
    """The same where one request of the tenant waits, and no more may."""
    settings = api.resources.settings.model_copy(update={"tenant_waiter_limit": 1})
    made = Api(replace(api.resources, settings=settings), api.key)
    made.app.extensions[WAITING_ROOM].join("default", UNKNOWN)
    return made


def fill_batch(api: Api) -> str:
    """Make a batch with a film that waits; the batch's address."""
    batch_id = make_batch(api.resources.database)
    make_job(api.resources.database, batch_id=batch_id)
    return BATCH.format(batch_id=batch_id)


def look_again(api: Api) -> TestResponse:
    """At a batch that has not changed."""
    path = fill_batch(api)
    return api.get(path, {"If-None-Match": api.get(path).headers["ETag"]})


BATCH = "/api/v1/batches/{batch_id}"
JOB = "/api/v1/jobs/{job_id}"
AGAIN = "/api/v1/jobs/{job_id}/again"
EVENTS = "/api/v1/jobs/{job_id}/events"
ALL = "/api/v1/jobs/{job_id}/explanations"
SAID = "/api/v1/jobs/{job_id}/explanations/{method}"
REVIEWS = "/api/v1/jobs/{job_id}/reviews"
AUDIT = "/api/v1/jobs/{job_id}/audit"
FILM = "/api/v1/jobs/{job_id}/film"
JSON_BODIES = {
    ALL: b'{"method": "gradient"}',
    REVIEWS: b'{"label": "normal"}',
    "/api/v1/webhooks": b'{"url": "https://ris.example/films"}',
    "/api/v1/webhooks/{webhook_id}/replay": b'{"since": "2026-11-01T00:00:00Z"}',
}
"""What a POST to these takes; to others a film, if anything."""
Case = tuple[str, str, int, Callable[[Api], TestResponse]]


def on_deleted(method: str, template: str) -> Case:
    """What a deleted job is answered."""

    def ask(api: Api) -> TestResponse:
        path = template.format(job_id=delete(api, succeed(api)), method="grad_cam")
        kind, body = ("application/json" if template in JSON_BODIES else "image/png"), JSON_BODIES.get(template, b"")
        return api.request(method, path, {"Content-Type": kind}, data=body if method == "POST" else None)

    return method, template, 410, ask


GONE: dict[str, Case] = {
    f"{method} {template} of a deleted job": on_deleted(method, template)
    for method, template in (
        ("GET", JOB), ("DELETE", JOB), ("GET", EVENTS), ("POST", f"{JOB}/cancel"), ("POST", AGAIN), ("GET", FILM),
        ("GET", ALL), ("POST", ALL), ("GET", SAID), ("GET", f"{SAID}.npy"), ("GET", f"{SAID}.json"), ("GET", REVIEWS),
        ("POST", REVIEWS),
    )
}  # fmt: skip
CASES: dict[str, Case] = GONE | {
    "submit": ("POST", "/api/v1/jobs", 202, lambda api: api.submit()),
    "submit again": ("POST", "/api/v1/jobs", 200, submit_again),
    "submit a form": ("POST", "/api/v1/jobs", 202, lambda api: api.submit_form(("file", make_jpeg()))),
    "nothing": ("POST", "/api/v1/jobs", 400, lambda api: api.submit(b"")),
    "no key": ("POST", "/api/v1/jobs", 401, lambda api: api.submit(headers={"Authorization": ""})),
    "no right": ("POST", "/api/v1/jobs", 403, lambda api: auditor(api).submit()),
    "too large": ("POST", "/api/v1/jobs", 413, lambda api: api.submit(bytes(200_000))),
    "too slow": ("POST", "/api/v1/jobs", 408, lambda api: send_late(api, "/api/v1/jobs", "image/png")),
    "a gif": ("POST", "/api/v1/jobs", 415, lambda api: api.submit(b"GIF89a")),
    "cut short": ("POST", "/api/v1/jobs", 422, lambda api: api.submit(make_png()[:100])),
    "too many": ("POST", "/api/v1/jobs", 429, lambda api: submit_where(api, tenant_queue_limit=1)),
    "no room": ("POST", "/api/v1/jobs", 507, lambda api: submit_where(api, min_free_bytes=2**62)),
    "submit and be deleted": (
        "POST",
        "/api/v1/jobs",
        410,
        lambda api: Api(replace(api.resources, queue=DeletingQueue(api)), api.key).submit(),
    ),
    "submit into nothing": ("POST", "/api/v1/jobs", 404, lambda api: api.submit(query=f"?batch={UNKNOWN}")),
    "batch": ("POST", "/api/v1/batches", 201, lambda api: api.request("POST", "/api/v1/batches")),
    "batch badly": (
        "POST",
        "/api/v1/batches",
        400,
        lambda api: api.request("POST", "/api/v1/batches", {"Idempotency-Key": " "}),
    ),
    "batch from an archive": (
        "POST",
        "/api/v1/batches",
        415,
        lambda api: api.request("POST", "/api/v1/batches", {"Content-Type": "application/zip"}, data=b"PK"),
    ),
    "batch with a film": ("GET", BATCH, 200, lambda api: api.get(fill_batch(api))),
    "batch unchanged": ("GET", BATCH, 304, look_again),
    "batch unknown": ("GET", BATCH, 404, lambda api: api.get(BATCH.format(batch_id=UNKNOWN))),
    "cancel batch": ("POST", f"{BATCH}/cancel", 200, lambda api: api.request("POST", f"{fill_batch(api)}/cancel")),
    "cancel no batch": (
        "POST",
        f"{BATCH}/cancel",
        404,
        lambda api: api.request("POST", f"{BATCH.format(batch_id=UNKNOWN)}/cancel"),
    ),
    "list": ("GET", "/api/v1/jobs", 200, lambda api: (succeed(api), fail(api), api.get("/api/v1/jobs"))[-1]),
    "export": ("GET", "/api/v1/jobs.csv", 200, lambda api: (succeed(api), api.get("/api/v1/jobs.csv"))[-1]),
    "export badly": ("GET", "/api/v1/jobs.csv", 400, lambda api: api.get("/api/v1/jobs.csv?limit=1")),
    "list badly": ("GET", "/api/v1/jobs", 400, lambda api: api.get("/api/v1/jobs?limit=0")),
    "queued": ("GET", JOB, 200, lambda api: api.get(f"/api/v1/jobs/{make_job(api.resources.database)}")),
    "succeeded": ("GET", JOB, 200, lambda api: api.get(f"/api/v1/jobs/{succeed(api)}")),
    "failed": ("GET", JOB, 200, lambda api: api.get(f"/api/v1/jobs/{fail(api)}")),
    "unchanged": ("GET", JOB, 304, ask_again),
    "unknown": ("GET", JOB, 404, lambda api: api.get(f"/api/v1/jobs/{UNKNOWN}")),
    "wait in a crowd": (
        "GET",
        JOB,
        429,
        lambda api: crowded(api).get(f"/api/v1/jobs/{succeed(api)}", {"Prefer": "wait=1"}),
    ),
    "follow": ("GET", EVENTS, 200, lambda api: follow(api, succeed(api))),
    "follow to the end": ("GET", EVENTS, 204, lambda api: follow(api, succeed(api), **{"Last-Event-ID": "4"})),
    "follow badly": ("GET", EVENTS, 400, lambda api: follow(api, succeed(api), **{"Last-Event-ID": "last"})),
    "follow unknown": ("GET", EVENTS, 404, lambda api: follow(api, UNKNOWN)),
    "follow in a crowd": ("GET", EVENTS, 429, lambda api: follow(crowded(api), succeed(api))),
    "cancel": ("POST", f"{JOB}/cancel", 200, lambda api: cancel(api, make_job(api.resources.database))),
    "cancel unknown": ("POST", f"{JOB}/cancel", 404, lambda api: cancel(api, UNKNOWN)),
    "cancel too late": ("POST", f"{JOB}/cancel", 409, lambda api: cancel(api, succeed(api))),
    "again": ("POST", AGAIN, 202, lambda api: classify_again(api, send_and_cancel(api))),
    "again by the same key": ("POST", AGAIN, 200, lambda api: classify_again_twice(api, is_same=True)),
    "again by another's key": ("POST", AGAIN, 422, lambda api: classify_again_twice(api, is_same=False)),
    "again badly": ("POST", AGAIN, 400, lambda api: classify_again(api, UNKNOWN, {"Idempotency-Key": " "})),
    "again without the right": ("POST", AGAIN, 403, lambda api: classify_again(auditor(api), send_and_cancel(api))),
    "again unknown": ("POST", AGAIN, 404, lambda api: classify_again(api, UNKNOWN)),
    "again too soon": ("POST", AGAIN, 409, lambda api: classify_again(api, make_job(api.resources.database))),
    "again of a lost film": ("POST", AGAIN, 500, lambda api: classify_again(api, succeed(api))),
    "again too often": ("POST", AGAIN, 429, lambda api: again_where(api, tenant_queue_limit=1)),
    "again without room": ("POST", AGAIN, 507, lambda api: again_where(api, min_free_bytes=2**62)),
    "delete": ("DELETE", JOB, 204, lambda api: api.request("DELETE", f"/api/v1/jobs/{succeed(api)}")),
    "delete unknown": ("DELETE", JOB, 404, lambda api: api.request("DELETE", f"/api/v1/jobs/{UNKNOWN}")),
    "film": ("GET", FILM, 200, lambda api: api.get((api.submit().json or {})["links"]["film"])),
    "film badly": ("GET", FILM, 400, lambda api: api.get(f"/api/v1/jobs/{UNKNOWN}/film?max_side=x")),
    "film unknown": ("GET", FILM, 404, lambda api: api.get(f"/api/v1/jobs/{UNKNOWN}/film")),
    "film lost": ("GET", FILM, 500, lambda api: api.get(f"/api/v1/jobs/{succeed(api)}/film")),
    "heatmap": ("GET", SAID, 200, lambda api: get_map(api, "grad_cam")),
    "map": ("GET", f"{SAID}.npy", 200, lambda api: get_map(api, "grad_cam.npy")),
    "numbers": ("GET", f"{SAID}.json", 200, lambda api: ask_and_get(api, ".json")),
    "no map yet": ("GET", SAID, 202, ask_and_get),
    "ask": ("POST", ALL, 202, lambda api: ask(api, succeed(api))),
    "ask twice": ("POST", ALL, 200, ask_twice),
    "ask badly": ("POST", ALL, 400, lambda api: ask(api, succeed(api), "guess")),
    "ask unknown": ("POST", ALL, 404, lambda api: ask(api, UNKNOWN)),
    "ask too soon": ("POST", ALL, 409, lambda api: ask(api, make_job(api.resources.database))),
    "ask too slowly": ("POST", ALL, 408, lambda api: send_late(api, ALL.format(job_id=UNKNOWN), "application/json")),
    "ask at length": ("POST", ALL, 413, lambda api: ask(api, UNKNOWN, "x" * 200_000)),
    "ask too often": ("POST", ALL, 429, ask_too_often),
    "explanations": ("GET", ALL, 200, ask_and_list),
    "explanations unknown": ("GET", ALL, 404, lambda api: api.get(f"/api/v1/jobs/{UNKNOWN}/explanations")),
    "no map yet either": ("GET", f"{SAID}.npy", 202, lambda api: ask_and_get(api, ".npy")),
    "no such map": ("GET", f"{SAID}.npy", 404, lambda api: get_map(api, "x.npy")),
    "no such numbers": ("GET", f"{SAID}.json", 404, lambda api: get_map(api, "x.json")),
    "no map": ("GET", SAID, 404, lambda api: get_map(api, "x")),
    "review": ("POST", REVIEWS, 200, lambda api: say(api, succeed(api))),
    "review badly": ("POST", REVIEWS, 400, lambda api: say(api, succeed(api), "a name")),
    "review without the right": ("POST", REVIEWS, 403, lambda api: say(auditor(api), succeed(api))),
    "review unknown": ("POST", REVIEWS, 404, lambda api: say(api, UNKNOWN)),
    "review too slowly": (
        "POST",
        REVIEWS,
        408,
        lambda api: send_late(api, REVIEWS.format(job_id=UNKNOWN), "application/json"),
    ),
    "review too soon": ("POST", REVIEWS, 409, lambda api: say(api, make_job(api.resources.database))),
    "review at length": ("POST", REVIEWS, 413, lambda api: say(api, UNKNOWN, "x" * 200_000)),
    "reviews": ("GET", REVIEWS, 200, say_and_list),
    "reviews unknown": ("GET", REVIEWS, 404, lambda api: api.get(REVIEWS.format(job_id=UNKNOWN))),
    "audit": ("GET", AUDIT, 200, lambda api: api.get(AUDIT.format(job_id=succeed(api)))),
    "audit of a deleted job": ("GET", AUDIT, 200, lambda api: api.get(AUDIT.format(job_id=delete(api, succeed(api))))),
    "audit badly": ("GET", AUDIT, 400, lambda api: api.get(f"{AUDIT.format(job_id=succeed(api))}?limit=0")),
    "audit without the right": ("GET", AUDIT, 403, lambda api: uploader(api).get(AUDIT.format(job_id=succeed(api)))),
    "audit unknown": ("GET", AUDIT, 404, lambda api: api.get(AUDIT.format(job_id=UNKNOWN))),
    "audit of what it sent and is deleted": ("GET", AUDIT, 410, audit_own_deleted),
    "alive": ("GET", "/livez", 200, lambda api: api.get("/livez")),
    "ready": ("GET", "/readyz", 200, lambda api: api.get("/readyz")),
    "metrics": ("GET", "/metrics", 200, lambda api: api.get("/metrics")),
}
