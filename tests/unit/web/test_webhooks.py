"""Webhooks over the API: for whom, how many, what is shown and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, insert, select

from shared import webhook_wire as wire
from shared.db import audit, webhooks
from shared.db.tables import AuditEvent
from shared.db.webhook_tables import Delivery, Webhook
from shared.db.webhooks import MOST_WEBHOOKS
from shared.domain import Role
from shared.wiring import Resources
from tests.api import Api, make_key, make_tenant
from tests.api_answers import problem
from tests.webhook_cases import HOOKS, add_webhook, ping, with_webhooks

URL = "https://ris.example/hook?token=s3cret"


@pytest.fixture
def api(resources: Resources) -> Api:
    """An admin's, where webhooks are on."""
    return with_webhooks(Api(resources, make_key(resources.database)))


def caller(api: Api, role: str, tenant: str = "default") -> Api:
    """Another key of the same service."""
    return Api(api.resources, make_key(api.resources.database, role=role, tenant=tenant))


def made(api: Api, url: str = URL) -> wire.WebhookSecret:
    """One that is made."""
    answer = add_webhook(api, url)
    assert answer.status_code == 201, answer.text
    found = wire.WebhookSecret.model_validate_json(answer.data)
    assert answer.headers["Location"] == f"{HOOKS}/{found.id}"
    return found


def test_a_secret_is_shown_once(api: Api) -> None:
    """When it is made, and when another takes its place; no list and no look has it."""
    first = made(api)
    rotated = wire.WebhookSecret.model_validate_json(api.request("POST", f"{HOOKS}/{first.id}/rotate").data)
    assert rotated.secret != first.secret
    assert rotated.old_secret_until is not None
    for path in (HOOKS, f"{HOOKS}/{first.id}"):
        text = api.get(path).text
        assert URL in text
        assert "whsec_" not in text
    with api.resources.database.read() as session:
        assert session.execute(select(Webhook.secret, Webhook.old_secret)).one() == (rotated.secret, first.secret)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("application/x-www-form-urlencoded", b'{"url": "https://ris.example"}', "Content-Type: application/json"),
        ("application/json", b'{"url": "https://ris.example"', "not valid JSON"),
    ],
)
def test_a_body_that_is_no_json_is_told_what_it_lacks(api: Api, kind: str, body: bytes, said: str) -> None:
    """Unless it is told otherwise, curl calls what it sends a form."""
    answer = api.request("POST", HOOKS, {"Content-Type": kind}, data=body)
    assert said in (problem(answer, 400, "invalid_request").detail or "")


@pytest.mark.parametrize("url", ["ris.example/films", "ftp://ris.example", ""])
def test_an_address_without_its_scheme_is_told_what_it_lacks(api: Api, url: str) -> None:
    """In words, with an example; not as a regular expression."""
    found = problem(add_webhook(api, url), 400, "invalid_request")
    assert found.detail == (
        "The request is not valid: url: It must begin with https://, such as https://ris.example/films."
    )


def test_what_admins_do_is_audited_without_what_is_secret(api: Api) -> None:
    """Who, what, and the host alone: an address may hold a password, and the chain keeps what it has."""
    first = made(api)
    api.request("POST", f"{HOOKS}/{first.id}/rotate")
    assert api.request("DELETE", f"{HOOKS}/{first.id}").status_code == 204
    with api.resources.database.read() as session:
        rows = session.scalars(select(AuditEvent).where(AuditEvent.subject == first.id).order_by(AuditEvent.seq)).all()
        assert [row.action for row in rows] == ["webhook_made", "webhook_rotated", "webhook_deleted"]
        assert {row.actor for row in rows} == {f"key:{(api.key or '').split('_')[1]}"}
        told = "".join(row.body for row in rows)
        assert '"host":"ris.example"' in told
        assert not [word for word in ("s3cret", "whsec", first.secret) if word in told]
        assert audit.verify(session)[1] is None


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
def test_webhooks_are_for_admins(api: Api, role: str) -> None:
    """To look at as well."""
    path, delivery = ping(api)
    other = caller(api, role)
    asked = [("GET", HOOKS), ("GET", path), ("GET", f"{path}/deliveries"), ("DELETE", path)]
    asked += [("POST", f"{each}") for each in (f"{path}/rotate", f"{path}/test", f"{delivery}/replay")]
    for method, address in asked:
        problem(other.request(method, address), 403, "forbidden")
    problem(add_webhook(other, "https://x.example"), 403, "forbidden")
    problem(other.request("POST", f"{path}/replay", json={"since": "2026-01-01T00:00:00Z"}), 403, "forbidden")


def test_another_tenants_webhook_is_as_one_that_is_not_there(api: Api) -> None:
    """By every address, and unchanged."""
    path, delivery = ping(api)
    make_tenant(api.resources.database, "ward-7")
    other = caller(api, "admin", "ward-7")
    assert wire.WebhookList.model_validate_json(other.get(HOOKS).data).webhooks == []
    for method, address in [
        ("GET", path), ("DELETE", path), ("POST", f"{path}/rotate"), ("POST", f"{path}/test"),
        ("GET", f"{path}/deliveries"), ("POST", f"{delivery}/replay"),
    ]:  # fmt: skip
        problem(other.request(method, address), 404, "webhook_not_found")
    assert api.get(path).status_code == 200


def test_a_tenant_has_so_many_and_each_address_once(api: Api) -> None:
    """A second one of the same address would tell everything twice; a removed one makes room."""
    first = made(api)
    problem(add_webhook(api, URL), 409, "conflict")
    for n in range(MOST_WEBHOOKS - 1):
        made(api, f"https://ris.example/{n}")
    problem(add_webhook(api, "https://ris.example/more"), 409, "conflict")
    api.request("DELETE", f"{HOOKS}/{first.id}")
    made(api, "https://ris.example/more")


def test_what_is_many_goes_step_by_step(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent again or removed: no transaction is long, and none is forgotten."""
    monkeypatch.setattr(webhooks, "STEP", 3)
    path, _ = ping(api)
    webhook_id = path.rpartition("/")[2]
    moment = datetime(2026, 11, 29, tzinfo=UTC)
    row = {"webhook_id": webhook_id, "type": "job.failed", "job_id": "j", "happened_at": moment, "state": "failed",
           "attempt": 10, "max_attempts": 10, "due_at": moment, "ended_at": moment, "log": []}  # fmt: skip
    with api.resources.database.begin() as session:
        session.execute(insert(Delivery), [{**row, "id": str(n), "seq": n} for n in range(7)])
    for expected in (7, 0):
        answer = api.request("POST", f"{path}/replay", json={"since": "2026-11-29T00:00:00Z"})
        assert answer.json == {"deliveries": expected}
    assert api.request("DELETE", path).status_code == 204
    with api.resources.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0


def test_where_they_are_off_none_is_made_or_sent(api: Api) -> None:
    """It says who can change that; what is there can be looked at and removed."""
    path, delivery = ping(api)
    off = api.resources.settings.model_copy(update={"webhooks": False})
    api = Api(replace(api.resources, settings=off), api.key)
    found = problem(add_webhook(api, "https://x.example"), 409, "webhooks_off")
    assert "PLAINFILM_WEBHOOKS=true" in found.detail
    for address in (f"{path}/test", f"{delivery}/replay"):
        problem(api.request("POST", address), 409, "webhooks_off")
    assert api.get(f"{path}/deliveries").status_code == 200
    assert api.request("DELETE", path).status_code == 204


def test_private_addresses_are_the_operators_to_allow(api: Api) -> None:
    """`PLAINFILM_WEBHOOKS_PRIVATE`."""
    problem(add_webhook(api, "http://127.0.0.1:9000/x"), 400, "invalid_request")
    allowed = api.resources.settings.model_copy(update={"webhooks_private": True})
    assert (
        add_webhook(Api(replace(api.resources, settings=allowed), api.key), "http://127.0.0.1:9000/x").status_code
        == 201
    )


def test_deliveries_are_listed_page_by_page_and_by_status(api: Api) -> None:
    """Newest first; a delivery that waits says when it is tried."""
    path, delivery = ping(api)
    for _ in range(2):
        api.request("POST", f"{path}/test")
    first = wire.DeliveryList.model_validate_json(api.get(f"{path}/deliveries?limit=2").data)
    rest = wire.DeliveryList.model_validate_json(api.get(f"{path}/deliveries?cursor={first.next_cursor}").data)
    ids = [found.id for page in (first, rest) for found in page.deliveries]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), ids[-1], rest.next_cursor) == (3, delivery.rpartition("/")[2], None)
    assert all(found.next_attempt_at and not found.attempts for found in first.deliveries)
    failed = wire.DeliveryList.model_validate_json(api.get(f"{path}/deliveries?status=failed").data)
    assert failed.deliveries == []
