"""`python -m tests.chaos --jobs 300 --seed 1 --design plainfilm --database postgresql`: one trial; exit 1 on any fault.

The last line is `lost N doubled N stale_accepted N chain_breaks N recovery_p99_s X kills N`. The history, the log of
kills and the logs of all parts are left in `--out`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import proc, report, rival_trial, trial
from tests.chaos.plan import Design, Options
from tests.chaos.servers import PERSISTENCE
from tests.chaos.standin import STAND_IN


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    options = parse(arguments)
    proc.end_on_sigterm()
    (options.out / "logs").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="plainfilm-chaos-"))
    try:
        runs = trial.run if options.design is Design.PLAINFILM else rival_trial.run
        verdict = runs(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for line in [f"logs in {options.out}", *report.lines(verdict)]:
        print(line, flush=True)  # noqa: T201  a command of its own
    return verdict.status


def parse(arguments: Sequence[str]) -> Options:
    """The command line as options."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="A trial under random kills.")
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--design", type=Design, choices=list(Design), default=Design.PLAINFILM)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--engine", choices=[STAND_IN, "keras", "openvino"], default=STAND_IN)
    parser.add_argument("--persistence", choices=list(PERSISTENCE), help="of the broker: plainfilm none, Celery rdb")
    parser.add_argument("--webs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--film-ms", type=int, default=150, help="how long the stand-in takes a film")
    parser.add_argument("--kills", type=int, help="how many; one for 14 films unless set")
    parser.add_argument("--spread-s", type=float, help="over how long; 0.28 s a film unless set")
    parser.add_argument("--out", type=Path, help="folder of the logs; a temporary one unless set")
    given = vars(parser.parse_args(arguments))
    given["out"] = (given["out"] or Path(tempfile.mkdtemp(prefix="chaos-logs-"))).absolute()
    given["persistence"] = given["persistence"] or ("none" if given["design"] is Design.PLAINFILM else "rdb")
    return Options(**given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
