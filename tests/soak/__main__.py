"""`python -m tests.soak --minutes 30`: half of the load that the service can bear; exit 1 where something grows.

Not among the tests: in a few minutes a leak is not told from what fills up and stays. `make soak MINUTES=30` runs it;
the logs of all parts are left in `--out`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import func, select

from shared.db.tables import Job
from shared.domain import JobState
from tests.chaos import proc
from tests.chaos.keeper import Keeper, Part
from tests.chaos.plan import Design, Options
from tests.chaos.stack import Stack
from tests.chaos.standin import STAND_IN
from tests.soak.load import Load
from tests.soak.verdict import LIMITS, Sample, Trend, judge
from tests.soak.watch import Watch

MEASURED_S = 20.0
PATIENCE_S = 300.0
SAMPLES = 400
LEAST_EVERY_S = 0.5

Samples = Mapping[tuple[str, str], Sequence[Sample]]


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where something grew, died, or was not answered."""
    given = parse(arguments)
    proc.end_on_sigterm()
    out = (given.out or Path(tempfile.mkdtemp(prefix="soak-logs-"))).absolute()
    (out / "logs").mkdir(parents=True, exist_ok=True)
    say(f"logs in {out}")
    with tempfile.TemporaryDirectory(prefix="plainfilm-soak-") as name, ExitStack() as stack:
        keeper = Keeper(out / "logs")
        keeper.start()
        stack.callback(keeper.close)
        service = Stack(make_options(given, out), Path(name), keeper)
        service.start()
        stack.callback(service.database.close)
        return soak(service, given.minutes * 60)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="A long run at half load.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--engine", choices=[STAND_IN, "keras", "openvino"], default="openvino")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder of the logs; a temporary one unless set")
    return parser.parse_args(arguments)


def make_options(given: argparse.Namespace, out: Path) -> Options:
    """A service without a monkey."""
    return Options(
        jobs=0, seed=0, design=Design.PLAINFILM, database=given.database, engine=given.engine, persistence="none",
        webs=1, workers=given.workers, clients=0, film_ms=20, kills=0, spread_s=0.0, out=out,
    )  # fmt: skip


def soak(service: Stack, duration_s: float) -> int:
    """Measure the rate, watch the service at half of it, tell how it went."""
    rate_per_s = measure(service)
    say(f"{rate_per_s:.1f} films/s at full load; {duration_s / 60:g} minutes at half of it")
    watch = Watch([*service.webs, *service.workers], max(LEAST_EVERY_S, duration_s / SAMPLES))
    load = Load(service.urls[0], service.key)
    watch.start()
    load.run(duration_s, rate_per_s / 2)
    watch.close()
    wait_until_quiet(service)
    answers = ", ".join(f"{number} x {told}" for told, number in sorted(load.statuses.items()))
    say(f"{len(load.accepted)} films accepted; {answers}")
    webs, workers = ([part.name for part in parts] for parts in (service.webs, service.workers))
    faults = [
        *unseen(webs, workers, watch),
        *growing(watch.samples),
        *deaths([*service.webs, *service.workers]),
        *watch.died(),
        *unanswered(service, load),
    ]
    say("; ".join(faults) or "nothing grows")
    return int(bool(faults))


def measure(service: Stack) -> float:
    """Films a second, from the first that is sent to the last that is answered."""
    load, began = Load(service.urls[0], service.key), time.monotonic()
    load.run(MEASURED_S)
    wait_until_quiet(service)
    return max(1.0, len(load.accepted) / (time.monotonic() - began))


def wait_until_quiet(service: Stack) -> None:
    """Until no film waits or runs, but not for ever: `unanswered` tells."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at and any(not state.is_terminal for state in count_states(service)):
        time.sleep(0.2)


def count_states(service: Stack) -> Counter[JobState]:
    """How many films are in each state."""
    with service.database.read() as session:
        rows = session.execute(select(Job.state, func.count()).group_by(Job.state)).all()
    return Counter({JobState(state): number for state, number in rows})


def unseen(webs: Sequence[str], workers: Sequence[str], watch: Watch) -> list[str]:
    """Who was not judged: each part, each web server's decoder, each in every quantity.

    What a part may start besides counts with it, and need not be there: one web process and a solo worker have none.
    """
    sampled = [*webs, *workers, *(f"{name} decoder" for name in webs)]
    return [f"no {quantity} of {role} was seen" for role in sampled for quantity in LIMITS
            if not watch.samples.get((role, quantity))]  # fmt: skip


def growing(samples: Samples) -> Iterator[str]:
    """Say how each quantity went; those that grew, and those of which there is too much."""
    for (role, quantity), seen in sorted(samples.items()):
        trend = judge(seen, LIMITS[quantity])
        say(line(role, quantity, trend))
        if trend.is_growing:
            yield f"{quantity} of {role} grows"
        if trend.is_high:
            yield f"{quantity} of {role}: {trend.level:.0f}, of {LIMITS[quantity].most:.0f} at most"


def line(role: str, quantity: str, trend: Trend) -> str:
    """One line of the table."""
    told = "GROWS" if trend.is_growing else "steady"
    return (
        f"{role:14} {quantity:12} {trend.level:8.1f}, {trend.gain:+7.2f} while judged, {trend.per_hour:+8.1f} an hour,"
        f" {trend.step:+7.2f} from start to end: {told}"
    )


def deaths(parts: Sequence[Part]) -> list[str]:
    """Parts that ended: a leak may have ended them, and none was judged after."""
    return [f"{part.name} ended with {part.statuses}" for part in parts if part.statuses]


def unanswered(service: Stack, load: Load) -> list[str]:
    """Requests that failed, and films that did not succeed."""
    bad = [told for told in load.statuses if told.split()[1][0] not in "23"]
    states = [state.value for state in count_states(service) if state is not JobState.SUCCEEDED]
    return [*(f"answered {told}" for told in bad), *(f"films ended as {state}" for state in states)]


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)  # noqa: T201  a command of its own


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
