"""`python -m tests.bench.scale [--queued N] [--done N] [--out folder]`: long tables, many workers, a long run."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.db.engine import Database, make_engine
from tests.bench import long_run, long_tables, machine, many_workers, store
from tests.bench.__main__ import say, stop
from tests.chaos import servers
from tests.chaos.keeper import Keeper


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.scale", description="Long tables, many workers, a long run."
    )
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--done", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=store.HERE, help="folder of the results")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, stop)
    found: store.Json = {"machine": machine.describe(), "queued": given.queued, "done": given.done}
    found["sqlite"] = in_folder(lambda folder: _sqlite(folder, given.queued, given.done))
    found["postgresql"] = in_folder(lambda folder: _postgresql(folder, given.queued, given.done))
    found |= in_folder(lambda folder: many_workers.measure(folder, say))
    say("one service")
    found["queue"] = in_folder(lambda folder: long_run.queue_cost(folder, say))
    found["growth_mb_per_1000_films"] = in_folder(lambda folder: long_run.memory(folder, say))
    out = given.out.absolute()
    store.write_scale(out, found)
    for name in ("sqlite", "postgresql", "workers", "queue", "growth_mb_per_1000_films"):
        for measure, value in found[name].items():
            say(f"{name:<24} {measure:<30} {value:10.2f}")
    say(f"stat film behind {many_workers.BULK:,} bulk ones starts after {found['stat_behind_bulk_s']:.2f} s")
    say(f"\nresults: {out / store.NAME}")
    return 0


def in_folder(measure: Callable[[Path], store.Json]) -> store.Json:
    """What is measured in a folder of its own, which goes afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="plainfilm-scale-"))
    try:
        return measure(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sqlite(folder: Path, queued: int, done: int) -> store.Json:
    say("SQLite")
    database = Database(make_engine(f"sqlite:///{folder / 'plainfilm.db'}"))
    try:
        return dict(long_tables.measure(database, queued, done, say))
    finally:
        database.close()


def _postgresql(folder: Path, queued: int, done: int) -> store.Json:
    say("PostgreSQL")
    (folder / "logs").mkdir()
    keeper = Keeper(folder / "logs")
    keeper.start()
    try:
        part, url = servers.postgresql(folder)
        keeper.add(part)
        database = servers.wait_for_database(url)
        found = dict(long_tables.measure(database, queued, done, say))
        database.close()
        return found
    finally:
        keeper.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
