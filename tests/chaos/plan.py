"""What a trial will do, drawn from its seed before it starts: films, who sends them when, and every blow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from shared.domain import Priority
from worker.run import Pool

POOLS: Sequence[Pool] = ("solo", "prefork")
"""As a supervisor starts a worker, and as it is started by hand."""

JOBS_A_KILL = 14
SPREAD_S_A_JOB = 0.28
SHORTEST_SPREAD_S = 25.0
"""A trial with few films still lasts longer than a lease."""

LEAST_SHARE = 0.9
"""So many of the films that no client cancels are answered at least: few are so unlucky that kills use them up."""

TWICE_SHARE = 0.2
CANCEL_SHARE = 0.1


class Design(StrEnum):
    """What is put to the trial."""

    PLAINFILM = "plainfilm"
    CELERY_DEFAULT = "celery-default"
    CELERY_ACKS_LATE = "celery-acks-late"


class Blow(StrEnum):
    """What the monkey may do."""

    CHILD = "child"
    PARENT = "parent"
    SWEEPER = "sweeper"
    WEB = "web"
    WEB_CHILD = "web_child"
    ALL_WORKERS = "all_workers"
    BROKER = "broker"
    BACKEND = "backend"
    POSTMASTER = "postmaster"
    FREEZE = "freeze"
    FLUSH = "flush"
    FORGE_TEXT = "forge_text"
    FORGE_JOB = "forge_job"


KILLS: Mapping[Blow, int] = {
    Blow.CHILD: 5,
    Blow.PARENT: 4,
    Blow.SWEEPER: 2,
    Blow.WEB: 3,
    Blow.WEB_CHILD: 2,
    Blow.BROKER: 2,
    Blow.ALL_WORKERS: 1,
    Blow.BACKEND: 1,
    Blow.POSTMASTER: 1,
}
"""Blows that kill, with their weights."""

OTHERS = (Blow.FREEZE, Blow.FLUSH, Blow.FORGE_TEXT, Blow.FORGE_JOB)
OF_POSTGRESQL = frozenset({Blow.BACKEND, Blow.POSTMASTER})
OF_CELERY = frozenset({Blow.CHILD, Blow.PARENT, Blow.BROKER})


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for; `pools` are the workers', in turn."""

    jobs: int
    seed: int
    design: Design
    database: str
    engine: str
    persistence: str
    webs: int
    workers: int
    clients: int
    film_ms: int
    kills: int | None
    spread_s: float | None
    out: Path
    pools: Sequence[Pool] = POOLS

    @property
    def spread(self) -> float:
        """Over how many seconds films and blows are spread."""
        return self.spread_s if self.spread_s is not None else max(SHORTEST_SPREAD_S, SPREAD_S_A_JOB * self.jobs)

    @property
    def kill_count(self) -> int:
        """How many processes are to be killed."""
        return self.kills if self.kills is not None else max(3, round(self.jobs / JOBS_A_KILL))

    @property
    def patience_s(self) -> float:
        """After so long a film that has not ended is lost."""
        return 2 * self.spread + 90.0


@dataclass(frozen=True, slots=True)
class Order:
    """One film that a client will send.

    Attributes:
        film: the seed of its pixels.
        due_s: when, after the trial's start.
        twice: the same key again: '', 'later', or 'together' with the first.
        cancel_after_s: None, or how long after its acceptance.
    """

    key: str
    film: int
    priority: Priority
    due_s: float
    twice: str
    cancel_after_s: float | None


@dataclass(frozen=True, slots=True)
class Planned:
    """One blow at its time."""

    due_s: float
    blow: Blow


def make_orders(options: Options) -> list[Order]:
    """All films of a trial, by time."""
    draw = Random(f"orders {options.seed}")  # noqa: S311  repeatable, not secret
    dues = sorted(draw.uniform(0, options.spread) for _ in range(options.jobs))
    return [_order(draw, options.seed, number, due_s) for number, due_s in enumerate(dues)]


def least_succeeded(orders: Sequence[Order]) -> int:
    """How many of the films that no client cancels must be answered."""
    return math.ceil(LEAST_SHARE * sum(order.cancel_after_s is None for order in orders))


def make_blows(options: Options) -> list[Planned]:
    """All blows of a trial, by time: each kind once where there is room, the others by weight."""
    draw = Random(f"blows {options.seed}")  # noqa: S311  likewise
    is_rival = options.design is not Design.PLAINFILM
    left_out = set() if options.database == "postgresql" else OF_POSTGRESQL
    kinds = [blow for blow in KILLS if blow not in left_out and (not is_rival or blow in OF_CELERY)]
    others = [] if is_rival or options.kill_count == 0 else OTHERS[: max(1, options.kill_count // 2)]
    drawn = [*_draw(draw, kinds, options.kill_count), *others, *draw.choices(OTHERS, k=options.kill_count // 8)]
    if is_rival:
        drawn = drawn[: options.kill_count]
    draw.shuffle(drawn)
    step = 0.94 * options.spread / max(1, len(drawn))
    return [Planned(0.03 * options.spread + step * (n + draw.random()), blow) for n, blow in enumerate(drawn)]


def _draw(draw: Random, kinds: Sequence[Blow], count: int) -> list[Blow]:
    once = draw.sample(list(kinds), k=min(count, len(kinds)))
    weights = [KILLS[kind] for kind in kinds]
    return [*once, *draw.choices(list(kinds), weights, k=max(0, count - len(once)))]


def _order(draw: Random, seed: int, number: int, due_s: float) -> Order:
    return Order(
        key=f"chaos-{seed}-{number}",
        film=1000 * seed + number,
        priority=draw.choice(list(Priority)),
        due_s=due_s,
        twice=draw.choice(["later", "together"]) if draw.random() < TWICE_SHARE else "",
        cancel_after_s=draw.uniform(0, 1.5) if draw.random() < CANCEL_SHARE else None,
    )
