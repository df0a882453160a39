"""The job repository against a model of it, over random histories, on SQLite and on a real PostgreSQL.

One step at a time: what two claims do at once is `test_job_changes.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Literal, TypeVar, get_args

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.exc import IntegrityError

from shared.db import audit, jobs, queue_queries
from shared.db.claim_order import Claimant
from shared.db.engine import Database
from shared.db.jobs import JobChanges, NewJob
from shared.db.leases import Claim
from shared.domain import JobState, Priority
from shared.errors import AppError, IllegalTransition, JobNotFound, LeaseLost
from tests.fakes import FixedClock, make_manifest
from tests.job_machine import (
    TENANTS,
    Film,
    check_claim,
    check_model,
    check_results,
    check_rows,
    check_rung,
    check_trails,
    look,
    make_resettable,
)
from tests.jobs import claimant, make_facts, make_record

pytestmark = pytest.mark.integration

T = TypeVar("T")

LEASE_S = 20.0
SILENT_S = 10.0
PAUSE_S = 3.0
PACE = settings(
    max_examples=20,
    stateful_step_count=30,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],  # to explain a failure takes minutes
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],  # each step commits to a real database
)

ENDED_OTHERWISE = {state for state in JobState if state.is_terminal} - {JobState.CANCELLED}
Arrival = tuple[str, Priority]
ARRIVAL = st.tuples(st.sampled_from(TENANTS), st.sampled_from(Priority))
Outcome = Literal["hold", "finish", "fail", "retry", "retry, our fault"]
OUTCOMES = get_args(Outcome)
CLASSES = st.sampled_from([tuple(Priority), (Priority.STAT,), (Priority.ROUTINE, Priority.BULK)])
MOMENTS = st.sampled_from([0.0, 1.0, 5.0, LEASE_S, LEASE_S + 0.5, 601.0])


class JobMachine(RuleBasedStateMachine):
    """Takes each step on the database and on the model, and compares.

    `claims` holds all that were ever made: of films that are held, given back, ended, or held by a later claim.
    """

    films = Bundle("films")
    rings = Bundle("rings")
    claims = Bundle("claims")

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.clock = FixedClock()
        self.database = database
        self.database.now = self.clock
        self.model: dict[str, Film] = {}
        self.ids = (f"film-{number}" for number in count(100))
        self.made: list[Claim] = []
        self.record = make_record(make_manifest().weights_sha256)

    @initialize(target=films, arrivals=st.lists(ARRIVAL, min_size=2, max_size=8))
    def begin(self, arrivals: list[Arrival]) -> MultipleResults[str]:
        """A queue to begin with."""
        return self._submit(arrivals, 3, None)

    @rule(
        target=films,
        arrivals=st.lists(ARRIVAL, min_size=1, max_size=2),
        max_attempts=st.integers(1, 3),
        expires_in_s=st.sampled_from([None, 30.0]),
    )
    def submit(self, arrivals: list[Arrival], max_attempts: int, expires_in_s: float | None) -> MultipleResults[str]:
        """Films of either tenant at one moment, each with a key of its own."""
        return self._submit(arrivals, max_attempts, expires_in_s)

    @rule(target=films, film=films, tenant=st.sampled_from(TENANTS))
    def submit_again(self, film: str, tenant: str) -> MultipleResults[str]:
        """With the key of a film that is there: refused, unless it is another tenant's."""
        key = self.model[film].key
        new = replace(self._new((tenant, Priority.STAT), 3, None), idempotency_key=key)
        if any((known.tenant, known.key) == (tenant, key) for known in self.model.values()):
            with pytest.raises(IntegrityError):
                self._change(lambda changes: changes.insert_queued(new))
            return multiple()
        self._change(lambda changes: changes.insert_queued(new))
        return multiple(self._accept(new))

    @rule(seconds=MOMENTS, is_swept=st.booleans())
    def wait(self, seconds: float, *, is_swept: bool) -> None:
        """Time passes: until leases end, to the second and beyond, until films have aged; and the sweeper looks."""
        self.clock.advance(seconds)
        if is_swept:
            self._sweep()

    @rule(
        target=claims,
        classes=CLASSES,
        limit=st.integers(1, 8),
        aged_first=st.booleans(),
        outcomes=st.lists(st.sampled_from(OUTCOMES), max_size=4),
    )
    def work(
        self, classes: tuple[Priority, ...], limit: int, outcomes: list[Outcome], *, aged_first: bool
    ) -> MultipleResults[Claim]:
        """A worker claims and writes what became of the first films; the others it still holds."""
        taken = self._claim(claimant(limit=limit, priorities=classes, lease_s=LEASE_S), aged_first=aged_first)
        for claim, outcome in zip(taken, outcomes, strict=False):
            if outcome != "hold":
                self._write(claim, outcome)
        return multiple(*taken)

    @rule(claim=claims, outcome=st.sampled_from(OUTCOMES[1:]))
    def write(self, claim: Claim, outcome: Outcome) -> None:
        """A worker writes, late or not, or once more: taken from the claim that owns the film, else refused."""
        self._write(claim, outcome)

    @precondition(lambda self: any(film.state is JobState.RUNNING for film in self.model.values()))
    @rule(target=claims, limit=st.integers(1, 8))
    def stall(self, limit: int) -> MultipleResults[Claim]:
        """Workers are silent beyond their lease, the sweeper looks, and another one comes."""
        self.clock.advance(LEASE_S + 0.5)
        self._sweep()
        return multiple(*self._claim(claimant(worker="w2", limit=limit, lease_s=LEASE_S)))

    @precondition(lambda self: self._overtaken())
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES[1:]))
    def write_late(self, data: st.DataObject, outcome: Outcome) -> None:
        """A worker writes to a film that another holds by now."""
        self._write(data.draw(st.sampled_from(self._overtaken())), outcome)

    @rule(claims=st.lists(claims, min_size=1, max_size=3, unique_by=id))
    def renew(self, claims: list[Claim]) -> None:
        """Leases that are still its own get longer, the others are told apart."""
        kept = self._change(lambda changes: changes.renew(claims, LEASE_S))
        assert kept == [held for held in claims if self.model[held.id].is_held_by(held)]
        for held in kept:
            self.model[held.id].lease_until = self.clock.now + timedelta(seconds=LEASE_S)

    @rule(target=rings, limit=st.integers(1, 3))
    def ring(self, limit: int) -> MultipleResults[str]:
        """Silent films are rung for, the longest silent first. A ring that no step answers was lost."""
        rung = self._change(lambda changes: changes.mark_rung(SILENT_S, limit))
        check_rung(self.model, rung, self.clock.now, SILENT_S, limit)
        for job_id, _ in rung:
            self.model[job_id].rung_at = self.clock.now
        return multiple(*(job_id for job_id, _ in rung))

    @rule(target=claims, film=rings, classes=CLASSES)
    def answer(self, film: str, classes: tuple[Priority, ...]) -> MultipleResults[Claim]:
        """A ring comes, for the first time or again: where its film waits, it is a claim like any other."""
        with self.database.read() as session:
            is_waiting = queue_queries.is_queued(session, film)
        assert is_waiting == (self.model[film].state is JobState.QUEUED)
        who = claimant(worker="w2", priorities=classes, lease_s=LEASE_S)
        return multiple(*(self._claim(who) if is_waiting else []))

    @rule(film=films, tenant=st.sampled_from(TENANTS))
    def cancel(self, film: str, tenant: str) -> None:
        """Ends what has not ended otherwise, for its own tenant only."""
        known = self.model[film]
        if known.tenant != tenant:
            self._refused(JobNotFound, lambda changes: changes.cancel(tenant, film, "key:k"))
        elif known.state in ENDED_OTHERWISE:
            self._refused(IllegalTransition, lambda changes: changes.cancel(tenant, film, "key:k"))
        else:
            assert self._change(lambda changes: changes.cancel(tenant, film, "key:k")) is JobState.CANCELLED
            if known.state is not JobState.CANCELLED:
                known.end(JobState.CANCELLED)

    @invariant()
    def tables_agree(self) -> None:
        """After each step: rows, results and trails are sound, and as the model says."""
        seen = look(self.database)
        check_rows(seen)
        check_trails(seen)
        check_results(seen)
        check_model(seen, self.model)

    def teardown(self) -> None:
        """The audit chain holds."""
        with self.database.read() as session:
            assert audit.verify(session)[1] is None

    def _submit(self, arrivals: list[Arrival], max_attempts: int, expires_in_s: float | None) -> MultipleResults[str]:
        made = [self._new(arrival, max_attempts, expires_in_s) for arrival in arrivals]
        self._change(lambda changes: [changes.insert_queued(new) for new in made])
        return multiple(*(self._accept(new) for new in made))

    def _new(self, arrival: Arrival, max_attempts: int, expires_in_s: float | None) -> NewJob:
        job_id = next(self.ids)
        tenant, priority = arrival
        return NewJob(
            id=job_id,
            tenant=tenant,
            owner="k",
            idempotency_key=job_id,
            facts=make_facts(seed=job_id),
            blob_ref="default/none/none",
            priority=priority,
            max_attempts=max_attempts,
            request_id="request",
            expires_in_s=expires_in_s,
        )

    def _accept(self, new: NewJob) -> str:
        now, wait_s = self.clock.now, new.expires_in_s
        expires_at = None if wait_s is None else now + timedelta(seconds=wait_s)
        key, attempts = new.idempotency_key, new.max_attempts
        self.model[new.id] = Film(new.id, new.tenant, key, new.priority, attempts, now, expires_at, now, now)
        return new.id

    def _claim(self, who: Claimant, *, aged_first: bool = False) -> list[Claim]:
        claims = self._change(lambda changes: changes.claim(who, aged_first=aged_first))
        check_claim(self.model, who, claims, self.clock.now)
        for claim in claims:
            self.made.append(claim)
            self.model[claim.id].start(self.clock.now, self.clock.now + timedelta(seconds=who.lease_s))
        return claims

    def _overtaken(self) -> list[Claim]:
        """Claims on films that run by a later one."""
        runs = {film.id: film.attempt for film in self.model.values() if film.state is JobState.RUNNING}
        return [claim for claim in self.made if claim.attempt < runs.get(claim.id, 0)]

    def _write(self, claim: Claim, outcome: Outcome) -> None:
        film = self.model[claim.id]
        if film.is_held_by(claim):
            self._change(lambda changes: self._send(changes, claim, outcome))
            self._follow(film, outcome)
        else:
            self._refused(LeaseLost, lambda changes: self._send(changes, claim, outcome))

    def _send(self, changes: JobChanges, claim: Claim, outcome: Outcome) -> None:
        if outcome == "finish":
            if changes.finish("w1", [(claim, self.record)]):
                raise LeaseLost("Another attempt owns this job now.")
        elif outcome == "fail":
            changes.fail(claim, "worker:w1", "x", "x")
        else:
            changes.retry(claim, "worker:w1", "x", PAUSE_S, is_ours=outcome == "retry, our fault")

    def _follow(self, film: Film, outcome: Outcome) -> None:
        if outcome == "finish":
            film.end(JobState.SUCCEEDED)
        elif outcome == "fail":
            film.end(JobState.FAILED)
        else:
            film.give_back(self.clock.now + timedelta(seconds=PAUSE_S), is_ours=outcome == "retry, our fault")

    def _sweep(self) -> None:
        """Films whose lease is over go back, or fail; those that waited past their time end."""
        now, films = self.clock.now, list(self.model.values())
        given_back, expired = self._change(lambda changes: (changes.requeue_expired(), changes.expire_due()))
        over = [film for film in films if film.lease_until and film.lease_until < now]
        assert sorted(given_back) == sorted((film.id, film.give_back(now)) for film in over)
        past = [film for film in films if film.is_past(now)]
        assert sorted(expired) == sorted(film.id for film in past)
        for film in past:
            film.end(JobState.EXPIRED)

    def _refused(self, error: type[AppError], write: Callable[[JobChanges], object]) -> None:
        """It raises, and has written nothing that the commit would keep."""
        with jobs.changing(self.database) as changes, pytest.raises(error):
            write(changes)

    def _change(self, change: Callable[[JobChanges], T]) -> T:
        with jobs.changing(self.database) as changes:
            return change(changes)


def test_any_history_goes_as_the_model_says(database: Database) -> None:
    """Submit, claim, ring, renew, finish, fail, retry, cancel and sweep in any order, by old claims and new."""
    reset = make_resettable(database)

    def start() -> JobMachine:
        reset()
        return JobMachine(database)

    run_state_machine_as_test(start, settings=PACE)
