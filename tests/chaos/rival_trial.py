"""One trial of the Celery design: the same films, monkey and last line. The rule of what is lost is mild.

A film is lost only where its task was accepted by the broker, no result was ever seen, and the broker holds no message
of it either; a result 'FAILURE' is told apart, and is no loss. There are no attempts and no chain to check.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from shared import broker
from tests.chaos import plan, rival, servers
from tests.chaos.facts import AuditRow, Fault, Kind
from tests.chaos.history import Action, History, Outcome
from tests.chaos.keeper import Keeper, Part
from tests.chaos.monkey import Monkey
from tests.chaos.plan import KILLS, Blow, Options, Order
from tests.chaos.recovery import Death, Span, recoveries
from tests.chaos.report import Verdict, counts
from tests.chaos.rival_targets import RivalTargets
from tests.chaos.standin import FILM_MS

QUIET_S = 25.0
"""Longer than the shortened visibility timeout of the late design and its check every 10 s."""

READ_EVERY_S = 0.5
START_WAIT_S = 60.0


class Client:
    """Publishes the films, each with its key as its task's id, and looks for results."""

    def __init__(self, url: str, history: History) -> None:
        self.app = Celery("rival-client", broker=url, set_as_current=False)
        self.redis = Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        self.accepted: set[str] = set()
        self.results: dict[str, str] = {}
        self.retries = 0
        self._history = history

    def close(self) -> None:
        """Close its connections."""
        self.redis.close()
        self.app.close()

    def publish(self, key: str) -> bool:
        """True where the broker took it; False where nobody knows."""
        asked = self._history.invoke("client", Action.SUBMIT, key)
        try:
            self.app.send_task(rival.TASK, [key], task_id=key)
        except (OperationalError, RedisError, OSError) as error:
            self._history.end(asked, Outcome.UNKNOWN, error=type(error).__name__)
            self.retries += 1
            return False
        self._history.end(asked, Outcome.OK, job=key)
        self.accepted.add(key)
        return True

    def look(self) -> None:
        """Read the results of all that have none yet; a broker that is away is asked again later."""
        for key in sorted(self.accepted - self.results.keys()):
            asked = self._history.invoke("client", Action.READ, key, key)
            try:
                found: Any = self.redis.get(rival.RESULT + key)  # Any: redis types serve its async client as well
            except RedisError as error:
                self._history.end(asked, Outcome.UNKNOWN, error=type(error).__name__)
                return
            state = str(json.loads(found)["status"]) if found else "PENDING"
            self._history.end(asked, Outcome.OK, job=key, state=state)
            if found:
                self.results[key] = state

    def held_by_broker(self) -> set[str]:
        """Ids of the tasks that wait in the queue, or that a worker took and never acknowledged."""
        waiting: Any = self.redis.lrange(rival.QUEUE, 0, -1)
        taken: Any = self.redis.hvals(rival.UNACKED)
        messages = [*map(json.loads, waiting), *(json.loads(item)[0] for item in taken)]
        return {message["headers"]["id"] for message in messages}


def run(options: Options, folder: Path) -> Verdict:
    """Run it in `folder`; the logs go to `options.out`."""
    began = time.monotonic()
    keeper = Keeper(options.out / "logs")
    keeper.start()
    history = History(options.out / "history.jsonl")
    try:
        server, url = servers.redis(folder, options.persistence)
        keeper.add(server)
        broker.wait_until_up(url)
        client = Client(url, history)
        verdict = _run_on(options, keeper, client, server, began)
        client.close()
    finally:
        keeper.close()
        history.close()
    return verdict


def _run_on(options: Options, keeper: Keeper, client: Client, server: Part, began: float) -> Verdict:
    deeds = options.out / "deeds.log"
    workers = [_worker(options, number, str(client.app.conf.broker_url), deeds) for number in range(options.workers)]
    for worker in workers:
        keeper.add(worker)
    _wait_until_ready(client, len(workers))
    targets = RivalTargets(server, workers, deeds, Random(f"targets {options.seed}"))  # noqa: S311  repeatable
    started = time.monotonic()
    monkey = Monkey(plan.make_blows(options), targets.hits, Blow.BROKER, started, options.out / "kills.jsonl")
    monkey.start()
    _work_off(client, plan.make_orders(options), started, started + options.patience_s, deeds)
    monkey.stop()
    broker.wait_until_up(str(client.app.conf.broker_url))
    client.look()
    trail = rival.read_deeds(deeds)
    deaths = [Death(s.worker, s.wall) for s in monkey.strikes if s.worker and s.blow in KILLS]
    lived = [Span(str(pid), *seen) for worker in workers for pid, seen in worker.seen()]
    faults = judge(client.accepted, client.results, trail, client.held_by_broker())
    notes = _notes(options, client, trail, monkey, time.monotonic() - began)
    return Verdict(faults, monkey.strikes, recoveries(deaths, trail, lived), notes)


def judge(accepted: set[str], results: Mapping[str, str], trail: Sequence[AuditRow], held: set[str]) -> list[Fault]:
    """What was lost, and what was done twice."""
    ended = Counter(row.subject for row in trail if row.action == "succeeded")
    lost = sorted(accepted - results.keys() - held)
    return [
        *(Fault(Kind.LOST, key, "its result is gone" if ended[key] else "never done to its end") for key in lost),
        *(Fault(Kind.DOUBLED, key, f"done {count} times") for key, count in ended.items() if count > 1),
    ]


def _work_off(client: Client, orders: Sequence[Order], started: float, deadline: float, deeds: Path) -> None:
    """Publish what is due and look for results, until all are there or nothing moves for `QUIET_S`."""
    waiting, moved_at, known = list(orders), time.monotonic(), 0
    while time.monotonic() < min(deadline, moved_at + QUIET_S):
        now = time.monotonic() - started
        due = [order for order in waiting if order.due_s <= now]
        waiting = [order for order in waiting if order.due_s > now or not client.publish(order.key)]
        client.look()
        moved = len(client.results) + len(rival.read_deeds(deeds)) + len(due)
        if waiting or moved != known:
            moved_at, known = time.monotonic(), moved
        if not waiting and client.results.keys() >= client.accepted:
            return
        time.sleep(READ_EVERY_S)


def _wait_until_ready(client: Client, workers: int) -> None:
    give_up_at = time.monotonic() + START_WAIT_S
    while len(client.app.control.ping(timeout=1.0)) < workers:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not {workers} workers after {START_WAIT_S:.0f} s")


def _worker(options: Options, number: int, url: str, deeds: Path) -> Part:
    command = [sys.executable, "-m", "celery", "-A", "tests.chaos.rival", "worker", "--concurrency=1"]
    environment = {
        "CHAOS_REDIS_URL": url,
        "CHAOS_RIVAL": options.design.value,
        "CHAOS_DEEDS": str(deeds),
        FILM_MS: str(options.film_ms),
    }
    return Part(f"worker{number}", ["exec", *command, f"--hostname=w{number}@%h", "--loglevel=INFO"], environment)


def _notes(
    options: Options, client: Client, trail: Sequence[AuditRow], monkey: Monkey, wall_s: float
) -> dict[str, str]:
    late = "; visibility timeout 15 s, not Celery's hour" if options.design is plan.Design.CELERY_ACKS_LATE else ""
    missed = f"; nobody to strike: {counts(monkey.missed)}" if monkey.missed else ""
    return {
        "trial": f"{options.jobs} films, seed {options.seed}, {options.design.value}, "
                 f"broker persistence {options.persistence}{late}",
        "accepted": str(len(client.accepted)),
        "results": counts(client.results.values()),
        "deeds": counts(row.action for row in trail),
        "held": f"{len(client.held_by_broker())} still in the broker's hands: not counted as lost",
        "blows": counts(strike.blow.value for strike in monkey.strikes) + missed,
        "retries": str(client.retries),
        "wall": f"{wall_s:.0f} s",
    }  # fmt: skip
