"""One trial of plainfilm: start the service, let clients and monkey at it, wait until all is quiet, judge."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from shared.manifest import read_manifest
from tests.chaos import evidence, plan
from tests.chaos.checker import check
from tests.chaos.client import Client, Target
from tests.chaos.facts import AuditRow, Evidence, JobRow
from tests.chaos.history import History, Outcome
from tests.chaos.keeper import Keeper
from tests.chaos.monkey import Monkey
from tests.chaos.plan import KILLS, Blow, Options, Order
from tests.chaos.recovery import Death, Span, held_at_death, percentile, recoveries, without
from tests.chaos.report import Verdict, counts
from tests.chaos.stack import Outages, Stack
from tests.chaos.standin import STAND_IN
from tests.chaos.targets import Targets


def run(options: Options, folder: Path) -> Verdict:
    """Run it in `folder`, which must not outlive it; the logs go to `options.out`."""
    began = time.monotonic()
    keeper = Keeper(options.out / "logs")
    keeper.start()
    try:
        stack = Stack(options, folder, keeper)
        stack.start()
        verdict = _run_on(options, stack, began)
        stack.database.close()
    finally:
        keeper.close()
    return verdict


def _run_on(options: Options, stack: Stack, began: float) -> Verdict:
    history = History(options.out / "history.jsonl")
    orders = plan.make_orders(options)
    started = time.monotonic()
    clients = _make_clients(options, stack, orders, history, started)
    targets = Targets(stack, Random(f"targets {options.seed}"))  # noqa: S311  repeatable, not secret
    log = options.out / "kills.jsonl"
    monkey = Monkey(plan.make_blows(options), targets.hits, Blow.WEB, started, log)
    outages = Outages(stack.sql_url)
    for thread in (*clients, monkey, outages):
        thread.start()
    for client in clients:
        client.join()
    monkey.stop()
    _wait_until_quiet(stack, started + options.patience_s)
    for part in (outages, history, targets):
        part.close()
    restarts = sum(len(part.statuses) for part in (*stack.webs, *stack.workers))
    lived = evidence.ask(stack.database, lambda session: evidence.spans(session, stack.workers))
    stack.stop_service()
    return _judge(options, stack, orders, history, _Seen(monkey, clients, lived, outages.found, restarts, began))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of a trial besides its history: who struck and asked, who lived when, and when it began."""

    monkey: Monkey
    clients: Sequence[Client]
    lived: Sequence[Span]
    outages: Sequence[tuple[float, float]]
    restarts: int
    began: float

    @property
    def deaths(self) -> list[Death]:
        """The killed workers."""
        return [Death(s.worker, s.wall) for s in self.monkey.strikes if s.worker and s.blow in KILLS]

    @property
    def awake(self) -> list[Span]:
        """When each worker could work: it lived, was not frozen, and the database was there."""
        freezes = self.monkey.freezes
        pauses = {span.worker: [(f.began, f.ended or f.began) for f in freezes if f.worker == span.worker]
                  for span in self.lived}  # fmt: skip
        return [left for span in self.lived for left in without(span, [*pauses[span.worker], *self.outages])]


def _make_clients(
    options: Options, stack: Stack, orders: Sequence[Order], history: History, started: float
) -> list[Client]:
    target = Target(stack.urls, stack.key)
    deadline = started + options.patience_s
    shares = [orders[number :: options.clients] for number in range(options.clients)]
    return [Client(f"client{number}", share, target, history, started, deadline) for number, share in enumerate(shares)]


def _wait_until_quiet(stack: Stack, deadline: float) -> None:
    """A submission that nobody knows the end of may still be at work."""
    while time.monotonic() < deadline and evidence.ask(stack.database, evidence.count_open):
        time.sleep(0.3)


def _judge(options: Options, stack: Stack, orders: Sequence[Order], history: History, seen: _Seen) -> Verdict:
    database = stack.database
    manifest = read_manifest(Path(stack.workers[0].environment["PLAINFILM_MODEL_DIR"]))
    answers = evidence.expected_answers(orders, manifest) if options.engine == STAND_IN else {}
    jobs = evidence.ask(database, evidence.job_rows)
    audit = evidence.ask(database, evidence.audit_rows)
    found = Evidence(
        orders=orders,
        events=history.events,
        jobs=jobs,
        results=evidence.ask(database, lambda session: evidence.result_rows(session, answers)),
        audit=audit,
        chain_break=evidence.ask(database, evidence.chain_break),
        raised=[line for client in seen.clients for line in client.raised],
    )
    evidence.write(options.out / "jobs.jsonl", jobs)
    evidence.write(options.out / "results.jsonl", found.results)
    evidence.write(options.out / "audit.jsonl", audit)
    evidence.write(options.out / "spans.jsonl", seen.awake)
    notes = _notes(options, history, seen, jobs, audit)
    return Verdict(check(found), seen.monkey.strikes, recoveries(seen.deaths, audit, seen.awake), notes)


def _spread(found: Sequence[float]) -> str:
    if not found:
        return "none while another worker lived"
    return f"after {percentile(found, 0.5):.1f} s (median), {percentile(found, 0.99):.1f} s (p99)"


def _notes(
    options: Options,
    history: History,
    seen: _Seen,
    jobs: Sequence[JobRow],
    audit: Sequence[AuditRow],
) -> dict[str, str]:
    missed = f"; nobody to strike: {counts(seen.monkey.missed)}" if seen.monkey.missed else ""
    return {
        "trial": f"{options.jobs} films, seed {options.seed}, {options.database}, engine {options.engine}",
        "jobs": counts(job.state for job in jobs),
        "attempts": counts(f"attempt {job.attempt}:" for job in jobs),
        "blows": counts(strike.blow.value for strike in seen.monkey.strikes) + missed,
        "held": f"{held_at_death(seen.deaths, audit)} films were in the hands of the killed",
        "given back": _spread(recoveries(seen.deaths, audit, seen.awake, until="requeued")),
        "answers": counts(f"{e.action.value} {e.outcome.value}" for e in history.events
                          if e.outcome is not Outcome.INVOKE),
        "retries": f"{sum(client.retries for client in seen.clients)} by clients, after "
                   + counts(str(e.http or e.error) for e in history.events if e.outcome is Outcome.UNKNOWN),
        "restarts": f"{seen.restarts} of webs and workers",
        "database": f"away {len(seen.outages)} times, {sum(end - start for start, end in seen.outages):.0f} s in all",
        "wall": f"{time.monotonic() - seen.began:.0f} s",
    }  # fmt: skip
