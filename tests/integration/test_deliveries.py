"""Deliveries on SQLite and on a real PostgreSQL: what is told, how often, by whom, and what a crash costs."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from sqlalchemy import select, update

from shared.db import audit, deletions, deliveries, jobs
from shared.db.deliveries import AT_ONCE, LEASE_S, RETRY_AFTER_S, TENANT_AT_ONCE, TRIES, Answer
from shared.db.engine import Database
from shared.db.keys import Principal
from shared.db.tables import AuditEvent
from shared.db.webhook_tables import Delivery, Webhook
from shared.domain import DeliveryState, Role
from shared.errors import Conflict
from shared.webhooks.dispatch import Dispatcher, pause_s
from shared.webhooks.run import SENDERS
from shared.wiring import Resources
from tests.api import make_tenant
from tests.fakes import FixedClock
from tests.jobs import claim, finish, make_batch, make_job
from tests.waiting import LIMIT_S
from tests.webhooks import (
    ADMIN,
    NOWHERE,
    actions,
    cancel_job,
    claim_all,
    get_webhook,
    list_deliveries,
    make_dispatcher,
    make_webhook,
    note,
    states,
)
from web import webhooks as web_webhooks

pytestmark = pytest.mark.integration

TAKEN, FAULT = (Answer(status, None, 1) for status in (204, 500))


# -- what is told ----------------------------------------------------------------------------------------------------


def test_each_end_of_a_job_is_told_once_and_nothing_else(database: Database, dispatcher: Dispatcher) -> None:
    """From the moment the webhook was made: by type, with its batch, at the time when it ended."""
    cancel_job(database)
    webhook_id, _ = make_webhook(database, NOWHERE)
    batch_id = make_batch(database)
    done, failed = make_job(database, batch_id=batch_id), make_job(database)
    for held in sorted(claim(database), key=lambda held: held.id):
        if held.id == done:
            finish(database, held)
        else:
            with jobs.changing(database) as changes:
                changes.fail(held, "worker:w1", "poisoned", "It failed.")
    cancelled = cancel_job(database)
    expired = make_job(database, expires_in_s=0)
    with jobs.changing(database) as changes:
        changes.expire_due()
    last = make_job(database)
    assert dispatcher.look() == 4
    assert dispatcher.look() == 0
    with jobs.changing(database) as changes:  # the very next event of the chain
        changes.cancel("default", last, "key:testkey")
    assert dispatcher.look() == 1
    found = list_deliveries(database, webhook_id)
    assert [(each.type, each.job_id) for each in found] == [
        ("job.succeeded", done),
        ("job.failed", failed),
        ("job.cancelled", cancelled),
        ("job.expired", expired),
        ("job.cancelled", last),
    ]
    with database.read() as session:
        assert session.scalars(select(Delivery.batch_id).order_by(Delivery.id)).all() == [batch_id, *[None] * 4]
        ended = session.scalars(
            select(AuditEvent.at).where(AuditEvent.subject == done, AuditEvent.action == "succeeded")
        )
        assert audit.timestamp(found[0].happened_at) == ended.one()


def test_a_tenant_is_told_of_its_own_jobs(database: Database, dispatcher: Dispatcher) -> None:
    """Each of its webhooks, and none of another's."""
    make_tenant(database, "ward-7")
    ours, _ = make_webhook(database, NOWHERE)
    also_ours, _ = make_webhook(database, NOWHERE + "2")
    theirs, _ = make_webhook(database, NOWHERE, Principal("k", "ward-7", Role.ADMIN))
    mine, other = cancel_job(database), cancel_job(database, tenant="ward-7")
    assert dispatcher.look() == 3
    for webhook_id, tenant, job_id in (
        (ours, "default", mine),
        (also_ours, "default", mine),
        (theirs, "ward-7", other),
    ):
        assert [found.job_id for found in list_deliveries(database, webhook_id, tenant)] == [job_id]


def test_a_job_that_was_deleted_since_is_told_and_can_be_deleted(database: Database, dispatcher: Dispatcher) -> None:
    """Its end happened, by the chain; nothing of a delivery keeps a job from being deleted, before or after."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    batch_id = make_batch(database)
    before, after = cancel_job(database, batch_id=batch_id), cancel_job(database)
    for job_id in (before, after):
        if job_id == after:
            assert dispatcher.look() == 2
        with jobs.changing(database) as changes:
            deletions.delete_job(changes, ADMIN, job_id)
    assert [found.job_id for found in list_deliveries(database, webhook_id)] == [before, after]
    with database.read() as session:
        assert session.scalars(select(Delivery.batch_id).order_by(Delivery.id)).all() == [batch_id, None]
    assert actions(database, before) == ["accepted", "cancelled", "deleted"]


def test_a_long_chain_is_looked_at_in_steps(
    database: Database, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step reads more than so many events; none is missed between two, and a step without ends gets on too."""
    monkeypatch.setattr(deliveries, "LOOK_EVENTS", 3)
    webhook_id, _ = make_webhook(database, NOWHERE)
    for _ in range(7):
        make_job(database)
    last = [cancel_job(database) for _ in range(4)]
    for _ in range(8):
        dispatcher.look()
    assert [found.job_id for found in list_deliveries(database, webhook_id)] == last


def test_looks_that_find_nothing_write_nothing(database: Database, dispatcher: Dispatcher) -> None:
    """Jobs that come and are claimed move the chain's head all day."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    make_job(database)
    dispatcher.look()
    with database.read() as session:
        made = select(AuditEvent.seq).where(AuditEvent.subject == webhook_id)
        assert session.scalar(select(Webhook.seen_seq)) == session.scalar(made) - 1


def test_two_dispatchers_that_look_at_once_make_each_delivery_once(database: Database) -> None:
    """And none is lost: both begin at the same number, again and again, while jobs end."""
    make_webhook(database, NOWHERE)
    both = Barrier(2, timeout=LIMIT_S)
    ended: list[str] = []

    def look(dispatcher: Dispatcher) -> int:
        made = 0
        for _ in range(10):
            both.wait()
            made += dispatcher.look()
        return made

    with ThreadPoolExecutor(2) as pool:
        looks = [pool.submit(look, make_dispatcher(database)) for _ in range(2)]
        while not all(each.done() for each in looks):
            ended.append(cancel_job(database))
    made = sum(each.result() for each in looks)
    while found := make_dispatcher(database).look():  # a step each, however many ended meanwhile
        made += found
    with database.read() as session:
        assert session.scalars(select(Delivery.job_id).order_by(Delivery.seq)).all() == ended
    assert made == len(ended)


def test_one_address_given_at_once_is_one_webhook(resources: Resources, database: Database) -> None:
    """Whoever comes second is told so, whichever way the database says it."""
    on = resources.settings.model_copy(update={"webhooks": True})
    here = replace(resources, database=database, settings=on)
    all_four = Barrier(4, timeout=LIMIT_S)

    def create() -> str:
        all_four.wait()
        try:
            return web_webhooks.create(here, ADMIN, "https://ris.example/x").id
        except Conflict as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        made = sorted(each.result() for each in [pool.submit(create) for _ in range(4)])
    assert made[1:] == ["conflict"] * 3
    assert get_webhook(database, made[0]).url == "https://ris.example/x"


# -- who sends, and when ---------------------------------------------------------------------------------------------


def test_what_one_dispatcher_has_no_other_takes(database: Database, dispatcher: Dispatcher) -> None:
    """Of twelve deliveries to three webhooks each is claimed once, however many claim at the same time."""
    for n in range(3):
        make_webhook(database, f"{NOWHERE}{n}")
    for _ in range(4):
        cancel_job(database)
    dispatcher.look()
    both = Barrier(3, timeout=LIMIT_S)

    def take() -> list[str]:
        both.wait()
        return [held.id for _ in range(6) for held in claim_all(database, room=2)]

    with ThreadPoolExecutor(3) as pool:
        taken = [found for each in [pool.submit(take) for _ in range(3)] for found in each.result()]
    taken += [held.id for held in claim_all(database)]  # PostgreSQL passes over a webhook that another claim holds
    assert len(taken) == len(set(taken)) == 12


def test_a_webhook_has_few_at_a_time_and_one_while_it_fails(
    database: Database, dispatcher: Dispatcher, clock: FixedClock
) -> None:
    """So that who hangs holds up nobody else; what is taken makes it free again."""
    slow, _ = make_webhook(database, NOWHERE)
    quick, _ = make_webhook(database, NOWHERE + "2")
    for _ in range(6):
        cancel_job(database)
    dispatcher.look()
    first = [*claim_all(database), *claim_all(database)]  # one claim takes no more of a tenant than `TENANT_AT_ONCE`
    assert sorted(held.webhook_id for held in first) == sorted([slow, quick] * AT_ONCE)
    assert claim_all(database) == []
    for held in first:
        note(database, held, FAULT if held.webhook_id == slow else TAKEN, retry_in_s=300)
    clock.advance(1)
    second = claim_all(database)
    assert sorted(held.webhook_id for held in second) == sorted([slow, quick, quick])
    assert get_webhook(database, slow).failures == AT_ONCE
    for held in second:
        note(database, held, TAKEN)
    assert get_webhook(database, slow).failures == 0


def test_a_tenants_slow_receivers_leave_senders_to_others(database: Database, dispatcher: Dispatcher) -> None:
    """However much waits for them: of a process's eight at least two."""
    make_tenant(database, "ward-7")
    for n in range(3):
        make_webhook(database, f"{NOWHERE}{n}")
    theirs, _ = make_webhook(database, NOWHERE, Principal("k", "ward-7", Role.ADMIN))
    for _ in range(4):
        cancel_job(database)
    cancel_job(database, tenant="ward-7")
    dispatcher.look()
    first = dispatcher.claim(TENANT_AT_ONCE)
    assert [held.tenant for held in first] == ["default"] * TENANT_AT_ONCE
    second = dispatcher.claim(SENDERS - len(first), Counter(held.tenant for held in first))
    assert [held.webhook_id for held in second] == [theirs]
    assert dispatcher.claim(1, {"default": TENANT_AT_ONCE - 1, "ward-7": 1}) != []


def test_webhooks_take_turns(database: Database, dispatcher: Dispatcher, clock: FixedClock) -> None:
    """With room for one delivery at a time each gets its turn, however much waits for the other."""
    hooks = [make_webhook(database, f"{NOWHERE}{n}")[0] for n in range(2)]
    for _ in range(2):
        cancel_job(database)
    dispatcher.look()
    taken = []
    for _ in range(4):
        clock.advance(1)
        (held,) = claim_all(database, room=1)
        note(database, held, TAKEN)
        taken.append(held.webhook_id)
    assert taken == hooks * 2


def test_a_dispatcher_that_dies_after_sending_sends_again_with_the_same_id(
    database: Database, dispatcher: Dispatcher, clock: FixedClock
) -> None:
    """Once its lease is over and not before; what it writes later, where it only slept, changes nothing."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    cancel_job(database)
    dispatcher.look()
    (first,) = claim_all(database)
    clock.advance(LEASE_S)
    assert claim_all(database) == []
    clock.advance(1)
    (second,) = claim_all(database)
    assert (second.id, second.attempt) == (first.id, first.attempt + 1)
    assert note(database, first, FAULT) is None
    assert note(database, second, TAKEN) is DeliveryState.DELIVERED
    assert note(database, second, FAULT) is None
    assert states(database, webhook_id) == ["delivered"]


def test_a_delivery_is_tried_by_its_schedule_and_then_given_up(
    database: Database, dispatcher: Dispatcher, clock: FixedClock
) -> None:
    """Ten tries in three days; it stays, with what each of them met."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    cancel_job(database)
    dispatcher.look()
    for tries in range(1, TRIES + 1):
        (held,) = claim_all(database)
        assert held.tries == tries
        pause = pause_s(held.tries, dispatcher.draw)
        assert note(database, held, FAULT, pause) is (DeliveryState.FAILED if tries == TRIES else DeliveryState.PENDING)
        clock.advance(pause - 0.1)
        assert claim_all(database) == []
        clock.advance(0.1)
    assert claim_all(database) == []
    (found,) = list_deliveries(database, webhook_id)
    assert (found.status, found.next_attempt_at) == (DeliveryState.FAILED, None)
    assert [each.status for each in found.attempts] == [500] * TRIES
    gaps = [(b.at - a.at).total_seconds() for a, b in zip(found.attempts, found.attempts[1:], strict=False)]
    assert all(planned <= gap <= 1.1 * planned for planned, gap in zip(RETRY_AFTER_S, gaps, strict=True)), gaps


def test_a_last_try_that_its_dispatcher_did_not_survive_has_failed(
    database: Database, dispatcher: Dispatcher, clock: FixedClock
) -> None:
    """It is not tried for ever."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    cancel_job(database)
    dispatcher.look()
    with database.begin() as session:
        session.execute(update(Delivery).values(attempt=TRIES - 1))
    assert len(claim_all(database)) == 1
    clock.advance(LEASE_S + 1)
    assert claim_all(database) == []
    assert states(database, webhook_id) == ["failed"]
