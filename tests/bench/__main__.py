"""`python -m tests.bench [--quick] [--rounds 5] [--out folder]`: measure, write JSON and Markdown, print a table."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tests.bench import plan, render, run, store

BUSY = 0.25
"""Load average, as a share of the cores, from which a run says so."""


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="plainfilm beside its peers, measured.")
    parser.add_argument("--quick", action="store_true", help="a look of three minutes at the most")
    parser.add_argument("--rounds", type=int, help="5 unless set; quick 1")
    parser.add_argument("--out", type=Path, help="folder of the results; quick ones go to var/bench unless set")
    given = parser.parse_args(arguments)
    made = plan.quick(given.rounds or 1) if given.quick else plan.full(given.rounds or 5)
    if os.getloadavg()[0] > BUSY * (os.cpu_count() or 1):
        say(f"this machine is busy (load average {os.getloadavg()[0]:.1f}): take the ratios with care")
    out = (given.out or (store.QUICK if given.quick else store.HERE)).absolute()
    signal.signal(signal.SIGTERM, stop)
    folder = Path(tempfile.mkdtemp(prefix="plainfilm-bench-"))
    try:
        results = run.run(made, folder, say)
    except BaseException:
        say(f"logs of the servers are left in {folder}")
        raise
    shutil.rmtree(folder, ignore_errors=True)
    store.write_run(out, results)
    say("")
    say(render.printed(results))
    say(f"\nresults: {out / store.TEXT} and {out / store.NAME}")
    return 0


def stop(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run like Ctrl-C: the servers are stopped."""
    raise KeyboardInterrupt


def say(line: str) -> None:
    """A line on the terminal."""
    print(line, flush=True)  # noqa: T201  a command of its own


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
