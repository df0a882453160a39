"""How long a claim takes with many films queued, and a page of the list with many jobs, on either database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random

from shared.db import jobs, keys, migrate, queries
from shared.db.claim_order import Claimant
from shared.db.engine import Database
from shared.domain import DEFAULT_TENANT, JobState, Priority, Verdict
from shared.manifest import read_manifest
from shared.wire import ListQuery
from tests.bench import rows, stats
from tests.bench.rows import Rows
from worker.serving import SHIPPED_MODEL

CLAIMS, PAGES = 200, 200
BATCH, LEASE_S = 8, 600.0

Say = Callable[[str], None]


def measure(database: Database, queued: int, done: int, say: Say) -> dict[str, float]:
    """Claims with `queued` films waiting, then pages with `done` jobs beside them: ms, by percentile."""
    migrate.upgrade(database)
    manifest = read_manifest(SHIPPED_MODEL)
    rows.register(database, manifest)
    owner = make_owner(database)
    started = time.monotonic()
    rows.make(database, Rows(DEFAULT_TENANT, owner, 1, queued, JobState.QUEUED), manifest.weights_sha256)
    say(f"  {queued:,} queued rows in {time.monotonic() - started:.0f} s")
    claims = list(_claims(database))
    started = time.monotonic()
    above = Rows(DEFAULT_TENANT, owner, queued + 1, done, JobState.SUCCEEDED)
    rows.make(database, above, manifest.weights_sha256)
    say(f"  {done:,} answered rows in {time.monotonic() - started:.0f} s")
    draw = Random("pages")  # noqa: S311  repeatable, not secret
    pages = list(_pages(database, lambda: ListQuery(cursor=rows.job_id(draw.randint(queued + 100, queued + done)))))
    return {
        **_told("claim", claims),
        **_told("list", pages),
        **_told("list_newest", list(_pages(database, ListQuery))),
        **_told("counts", list(_counts(database))),
        **_told("list_by_verdict", list(_pages(database, lambda: ListQuery(verdict=Verdict.COVID19)))),
        **_told("list_by_rare_verdict", list(_pages(database, lambda: ListQuery(verdict=Verdict.NOT_ASSESSABLE), 10))),
        **_told("list_by_rare_status", list(_pages(database, lambda: ListQuery(status=JobState.QUEUED), 10))),
    }


def make_owner(database: Database) -> str:
    """The id of a new key."""
    with database.begin() as session:
        key = keys.make_key(session, DEFAULT_TENANT, "admin", database.now(session))
        return keys.get_principal(session, key).key_id


def _claims(database: Database) -> Iterator[float]:
    """Seconds of each claim of a batch, from BEGIN to the end of COMMIT."""
    who = Claimant("bench", tuple(Priority), BATCH, LEASE_S)
    for turn in range(CLAIMS):
        started = time.perf_counter()
        with jobs.changing(database) as changes:
            taken = changes.claim(who, aged_first=turn % 4 == 3)
        yield time.perf_counter() - started
        assert len(taken) == BATCH


def _pages(database: Database, make: Callable[[], ListQuery], count: int = PAGES) -> Iterator[float]:
    """Seconds of each page of 50, to the JSON that is answered."""
    for _ in range(count):
        query = make()
        started = time.perf_counter()
        with database.read() as session:
            queries.list_jobs(session, DEFAULT_TENANT, query).model_dump_json()
        yield time.perf_counter() - started


def _counts(database: Database) -> Iterator[float]:
    """Seconds of each count of the jobs by state, which every open worklist asks for."""
    for _ in range(PAGES):
        started = time.perf_counter()
        with database.read() as session:
            queries.count_by_state(session, DEFAULT_TENANT)
        yield time.perf_counter() - started


def _told(name: str, seconds: list[float]) -> dict[str, float]:
    return {f"{name}_p{share}_ms": 1000 * stats.percentile(seconds, share / 100) for share in (50, 99)}
