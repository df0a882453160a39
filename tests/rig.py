"""A small service for tests of single faults: one database, one web server, two workers, and what dies starts again."""

from __future__ import annotations

import signal
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from sqlalchemy import func, select

from shared import wire
from shared.db import audit
from shared.db.audit_comparison import compare
from shared.db.tables import AuditEvent, Job, Result
from shared.domain import Priority
from shared.faults import Fault
from tests.chaos import faulty
from tests.chaos.faulty import FAULT_FILE, GUNICORN
from tests.chaos.keeper import Keeper
from tests.chaos.plan import POOLS, Design, Options
from tests.chaos.stack import Stack
from tests.chaos.standin import STAND_IN
from tests.factories import make_pixels, make_png
from tests.waiting import wait_until
from worker.run import Pool


class Rig(Stack):
    """A running service, and a patient client of it.

    Args:
        extra: added to the environment of web server and workers.
    """

    def __init__(self, planned: Options, keeper: Keeper, extra: Mapping[str, str]) -> None:
        folder = planned.out
        self.fault = folder / "fault"
        self.extra = extra
        super().__init__(planned, folder, keeper)
        self.http = self.other_client()

    def _environment(self, **more: str) -> Mapping[str, str]:
        quick = {"PLAINFILM_LEASE_S": "2", "PLAINFILM_POLL_S": "0.3", FAULT_FILE: str(self.fault)}
        return super()._environment(**{**quick, **GUNICORN, **self.extra, **more})

    def send(self, key: str, film: bytes | None = None, priority: Priority = Priority.ROUTINE) -> httpx.Response | None:
        """Send a film once; None where the connection broke."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key, "Content-Type": "image/png"}
        headers["Cache-Control"] = "no-cache"  # a worker shall answer, whatever is stored
        query = {"priority": priority.value}
        try:
            return self.http.post("/api/v1/jobs", params=query, content=film or film_of(key), headers=headers)
        except httpx.TransportError:
            return None

    def submit(self, key: str, film: bytes | None = None, priority: Priority = Priority.ROUTINE) -> wire.Job:
        """Send it again and again with its key, until it is accepted."""

        def try_it() -> wire.Job | None:
            answer = self.send(key, film, priority)
            is_accepted = answer is not None and answer.status_code in {200, 202}
            return wire.Job.model_validate_json(answer.content) if answer is not None and is_accepted else None

        found: wire.Job = wait_until(try_it, f"film {key} to be accepted")
        return found

    def get(self, path: str) -> httpx.Response | None:
        """Ask once; None where the connection broke."""
        try:
            return self.http.get(path, headers={"Authorization": f"Bearer {self.key}"})
        except httpx.TransportError:
            return None

    def done(self, job_id: str) -> wire.Job:
        """The job once it is."""

        def ask() -> wire.Job | None:
            answer = self.get(f"/api/v1/jobs/{job_id}")
            is_there = answer is not None and answer.status_code == 200
            job = wire.Job.model_validate_json(answer.content) if answer is not None and is_there else None
            return job if job is not None and job.done else None

        found: wire.Job = wait_until(ask, f"job {job_id} to end")
        return found

    def other_client(self) -> httpx.Client:
        """A connection of its own."""
        return httpx.Client(base_url=self.urls[0], timeout=60.0, trust_env=False)

    def ask_for(self, *points: Fault, by: int = signal.SIGKILL) -> None:
        """Let the next process that reaches the point die there, or get another signal; then one at the next point."""
        faulty.ask(self.fault, [f"{point} {int(by)}" for point in points])

    def victims(self) -> set[int]:
        """Process ids of those that died so, and forget them."""
        marks = [path for path in self.fault.parent.glob("fault.*") if path.suffix[1:].isdigit()]
        for mark in marks:
            mark.unlink()
        return {int(mark.suffix[1:]) for mark in marks}

    def assert_once(self, job_id: str, key: str) -> None:
        """One row of this key, one result, one end; each claim but the last was given back; chain and rows hold."""
        with self.database.read() as session:
            actions = list(session.scalars(select(AuditEvent.action).where(AuditEvent.subject == job_id)))
            rows = session.scalar(select(func.count()).select_from(Job).where(Job.idempotency_key == key))
            results = session.scalar(select(func.count()).select_from(Result).where(Result.job_id == job_id))
            assert audit.verify(session)[1] is None
            assert compare(session)[1] is None
        assert (rows, results, actions.count("accepted"), actions.count("succeeded")) == (1, 1, 1, 1)
        assert actions.count("claimed") == actions.count("requeued") + 1


def film_of(key: str) -> bytes:
    """A film of this key's own: nothing medical about it."""
    return make_png(pixels=make_pixels(height_px=48, width_px=48, seed=zlib.crc32(key.encode())))


def options(database: str, folder: Path, film_ms: int, pools: Sequence[Pool]) -> Options:
    """One web server, two workers, nothing random."""
    return Options(
        jobs=0, seed=0, design=Design.PLAINFILM, database=database, engine=STAND_IN, persistence="none", webs=1,
        workers=2, clients=0, film_ms=film_ms, kills=0, spread_s=0.0, out=folder, pools=pools,
    )  # fmt: skip


@contextmanager
def running(
    database: str,
    *,
    film_ms: int = 5,
    each: Sequence[Mapping[str, str]] = (),
    pools: Sequence[Pool] = POOLS,
    **environment: str,
) -> Iterator[Rig]:
    """A service on this kind of database until the block ends.

    Args:
        film_ms: how long the engine takes for a film.
        each: added to the environment of one worker each.
        pools: the workers', in turn.
        environment: added to that of all.
    """
    with tempfile.TemporaryDirectory(prefix="plainfilm-rig-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "logs").mkdir()
        keeper = Keeper(folder / "logs")
        keeper.start()
        stack.callback(keeper.close)
        made = Rig(options(database, folder, film_ms, pools), keeper, environment)
        stack.callback(made.http.close)
        for part, more in zip(made.workers, each, strict=False):
            part.environment = {**part.environment, **more}
        made.start()
        stack.callback(made.database.close)
        yield made
