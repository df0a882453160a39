"""What comes of deliveries, on SQLite and on a real PostgreSQL: gone receivers, replays, removals, and a whole way."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, update

from shared.db import deliveries, webhooks
from shared.db.deliveries import AT_ONCE, LEASE_S, TRIES, WAITS_AT_MOST, Answer
from shared.db.engine import Database
from shared.db.webhook_tables import Delivery
from shared.domain import DeliveryState
from shared.errors import AppError, Conflict, DatabaseDown, DeliveryNotFound, StorageFull, WebhookNotFound
from shared.webhooks import dispatch
from shared.webhooks.dispatch import Dispatcher
from shared.wiring import new_job_id
from tests.fakes import FixedClock
from tests.webhooks import (
    ADMIN,
    NOWHERE,
    actions,
    cancel_job,
    claim_all,
    get_webhook,
    list_deliveries,
    make_webhook,
    note,
    receiving,
    states,
    tell,
)

pytestmark = pytest.mark.integration

TAKEN, GONE = (Answer(status, None, 1) for status in (204, 410))


def test_a_receiver_that_is_gone_is_told_nothing_more(database: Database, dispatcher: Dispatcher) -> None:
    """410 disables the webhook, audited, once; what waits has failed, what happens later is not derived."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    for _ in range(3):
        cancel_job(database)
    dispatcher.look()
    first, *rest = claim_all(database)
    assert note(database, first, GONE) is DeliveryState.FAILED
    assert [note(database, held, GONE) for held in rest] == [None, None]
    assert states(database, webhook_id) == ["failed"] * 3
    assert get_webhook(database, webhook_id).disabled_at is not None
    cancel_job(database)
    assert (dispatcher.look(), claim_all(database)) == (0, [])
    assert actions(database, webhook_id) == ["webhook_made", "webhook_disabled"]
    with pytest.raises(Conflict, match="remove it"):
        make_webhook(database, NOWHERE)
    with pytest.raises(Conflict), database.begin_core() as sql:
        webhooks.replay(sql, ADMIN, webhook_id, first.id, database.now(sql))


@pytest.mark.parametrize("fault", [DatabaseDown, StorageFull])
def test_what_came_of_a_delivery_is_written_down_once_the_database_is_back(
    database: Database, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch, fault: type[AppError]
) -> None:
    """It is sent once; a database that was away, or full, for a moment costs no second sending and no wait."""
    monkeypatch.setattr(dispatch, "NOTE_RETRY_S", 0.01)
    tried: list[int] = []

    def note_later(*given: Any) -> DeliveryState | None:
        tried.append(len(tried))
        if len(tried) < 3:
            raise fault("for a moment")
        return noted(*given)

    noted = deliveries.note
    monkeypatch.setattr(deliveries, "note", note_later)
    with receiving() as receiver:
        webhook_id, _ = make_webhook(database, receiver.url)
        cancel_job(database)
        assert tell(dispatcher) == 1
        assert (len(receiver.received), len(tried)) == (1, 3)
    assert states(database, webhook_id) == ["delivered"]


@pytest.mark.parametrize("is_ending", [True, False])
def test_it_is_not_tried_for_longer_than_the_lease_or_the_process_lasts(
    database: Database, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch, *, is_ending: bool
) -> None:
    """Then another dispatcher may have it."""
    monkeypatch.setattr(dispatch, "NOTE_RETRY_S", LEASE_S if is_ending else 0.01)
    if is_ending:
        dispatcher.ending.set()
    else:
        monkeypatch.setattr(deliveries, "LEASE_S", 0.0)

    def refuse(*_given: object) -> None:
        raise DatabaseDown("away")

    monkeypatch.setattr(deliveries, "note", refuse)
    make_webhook(database, NOWHERE)
    cancel_job(database)
    dispatcher.look()
    with pytest.raises(DatabaseDown):
        dispatcher.deliver(claim_all(database)[0])


def test_what_failed_is_sent_again_on_request(database: Database, dispatcher: Dispatcher, clock: FixedClock) -> None:
    """One, or all of the events since a time; under the same ids, with as many tries more."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    old = cancel_job(database)
    clock.advance(3600)
    since = clock.now
    for _ in range(3):
        cancel_job(database)
    dispatcher.look()
    with database.begin() as session:
        session.execute(update(Delivery).values(state="failed", ended_at=clock.now, attempt=TRIES))
    with database.begin_core() as sql:
        assert webhooks.replay_failed(sql, ADMIN, webhook_id, since, database.now(sql)) == 3
    assert states(database, webhook_id) == ["failed", "pending", "pending", "pending"]
    held = claim_all(database)[0]
    assert (held.attempt, held.tries) == (TRIES + 1, 1)
    first = list_deliveries(database, webhook_id)[0]
    assert first.job_id == old
    with database.begin_core() as sql:
        again = webhooks.replay(sql, ADMIN, webhook_id, first.id, database.now(sql))
        assert (again.id, again.status) == (first.id, DeliveryState.PENDING)
        with pytest.raises(Conflict):
            webhooks.replay(sql, ADMIN, webhook_id, held.id, database.now(sql))
        with pytest.raises(DeliveryNotFound):
            webhooks.replay(sql, ADMIN, webhook_id, webhook_id, database.now(sql))


def test_a_ping_is_tried_once_each_time(database: Database) -> None:
    """Whoever has it sent again looks at what comes of it, as at the first time."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    with database.begin_core() as sql:
        ping = webhooks.ping(sql, ADMIN, webhook_id, new_job_id(), database.now(sql))
    for _ in range(2):
        (held,) = claim_all(database)
        assert note(database, held, Answer(500, None, 1)) is DeliveryState.FAILED
        with database.begin_core() as sql:
            webhooks.replay(sql, ADMIN, webhook_id, ping.id, database.now(sql))


def test_a_webhook_goes_with_its_deliveries(database: Database, dispatcher: Dispatcher) -> None:
    """While one of them is being sent, too; the audit stays."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    cancel_job(database)
    dispatcher.look()
    (held,) = claim_all(database)
    with database.begin_core() as sql:
        webhooks.delete_webhook(sql, ADMIN, webhook_id, database.now(sql))
    assert note(database, held, TAKEN) is None
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0
    with pytest.raises(WebhookNotFound):
        get_webhook(database, webhook_id)
    assert actions(database, webhook_id) == ["webhook_made", "webhook_deleted"]


def test_old_deliveries_are_removed(database: Database, dispatcher: Dispatcher, clock: FixedClock) -> None:
    """Thirty days after they ended; what is still tried stays."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    first = cancel_job(database)
    dispatcher.look()
    (held,) = claim_all(database)
    note(database, held, TAKEN)
    clock.advance(30 * 86_400 - 1)
    cancel_job(database)
    dispatcher.look()
    assert dispatcher.purge() == 0
    clock.advance(2)
    assert dispatcher.purge() == 1
    assert first not in [found.job_id for found in list_deliveries(database, webhook_id)]
    assert states(database, webhook_id) == ["pending"]


def test_what_nobody_came_to_try_for_days_is_given_up(
    database: Database, dispatcher: Dispatcher, clock: FixedClock
) -> None:
    """A receiver that takes less than happens does not pile them up for ever; one that is replayed begins anew."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    cancel_job(database)
    dispatcher.look()
    clock.advance(WAITS_AT_MOST.total_seconds())
    assert dispatcher.purge() == 0
    clock.advance(1)
    assert (dispatcher.purge(), dispatcher.purge()) == (1, 0)
    assert states(database, webhook_id) == ["failed"]
    (found,) = list_deliveries(database, webhook_id)
    with database.begin_core() as sql:
        webhooks.replay(sql, ADMIN, webhook_id, found.id, database.now(sql))
    assert dispatcher.purge() == 0
    assert states(database, webhook_id) == ["pending"]


def test_what_is_being_sent_is_not_given_up(database: Database, dispatcher: Dispatcher, clock: FixedClock) -> None:
    """Its receiver came back just before the four days were over; that of a dead dispatcher is."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    cancel_job(database)
    cancel_job(database)
    dispatcher.look()
    clock.advance(WAITS_AT_MOST.total_seconds() - LEASE_S / 2)
    first, _ = claim_all(database)
    clock.advance(LEASE_S - 1)
    assert dispatcher.purge() == 0
    note(database, first, TAKEN)
    clock.advance(2)
    assert dispatcher.purge() == 1
    assert states(database, webhook_id) == ["delivered", "failed"]


def test_who_fails_again_and_again_rests(database: Database, dispatcher: Dispatcher, clock: FixedClock) -> None:
    """A minute, then five, however much waits for it; a ping and a replay are tried at once, and a success ends it."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    for _ in range(40):
        cancel_job(database)
    dispatcher.look()
    fail(database, 8, clock)
    clock.advance(58)
    assert dispatcher.claim(8) == []
    clock.advance(2)
    fail(database, 22, clock, every_s=61)
    clock.advance(61)
    assert dispatcher.claim(8) == []
    with database.begin_core() as sql:
        ping = webhooks.ping(sql, ADMIN, webhook_id, new_job_id(), database.now(sql))
        assert ping.next_attempt_at == ping.happened_at
    (held,) = claim_all(database)
    assert held.id == ping.id
    note(database, held, TAKEN)
    assert len(claim_all(database)) == AT_ONCE


def fail(database: Database, tries: int, clock: FixedClock, every_s: float = 1) -> None:
    """So many tries in a row that fail, and are not due again."""
    failed = 0
    while failed < tries:
        clock.advance(every_s)
        for held in claim_all(database):
            note(database, held, Answer(500, None, 1), retry_in_s=1e7)
            failed += 1
    assert failed == tries


def test_what_was_found_for_who_is_gone_meanwhile_is_not_made(database: Database, dispatcher: Dispatcher) -> None:
    """Between the look and its deliveries the receiver may answer 410: none would be left that nobody tries."""
    webhook_id, _ = make_webhook(database, NOWHERE)
    cancel_job(database)
    dispatcher.look()
    cancel_job(database)
    with database.read_core() as sql:
        (news,) = deliveries.find_news(sql)
    (held,) = claim_all(database)
    note(database, held, GONE)
    with database.begin_core() as sql:
        assert deliveries.keep(sql, news, database.now(sql), new_job_id) == 0
    assert states(database, webhook_id) == ["failed"]


def test_what_waits_for_who_is_gone_fails_step_by_step(
    database: Database, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much it is, no transaction is long: the rest goes when old deliveries are removed."""
    monkeypatch.setattr(deliveries, "PURGE_STEP", 2)
    webhook_id, _ = make_webhook(database, NOWHERE)
    for _ in range(6):
        cancel_job(database)
    dispatcher.look()
    held, *_ = claim_all(database)
    note(database, held, GONE)
    assert states(database, webhook_id).count("failed") == 3
    assert [dispatcher.purge() for _ in range(3)] == [2, 1, 0]
    assert states(database, webhook_id) == ["failed"] * 6


def test_a_fault_and_then_a_delivery_over_a_socket(
    database: Database, dispatcher: Dispatcher, clock: FixedClock
) -> None:
    """The whole way: the same id and the same bytes, signed anew; the log has both tries."""
    with receiving(500, 204) as receiver:
        webhook_id, _ = make_webhook(database, receiver.url)
        job_id = cancel_job(database)
        assert tell(dispatcher) == 1
        clock.advance(6)
        assert tell(dispatcher) == 1
    assert receiver.job_ids() == [job_id, job_id]
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    (found,) = list_deliveries(database, webhook_id)
    assert (found.id, found.status) == (first.id, DeliveryState.DELIVERED)
    assert [each.status for each in found.attempts] == [500, 204]
