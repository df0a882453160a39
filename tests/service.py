"""A running `plainfilm up` in a home of its own, for integration and browser tests."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from shared import samples, wire
from tests.factories import make_pixels, make_png
from tests.ports import hold_port, port_of
from tests.waiting import LIMIT_S, wait_until


class Service:
    """One `plainfilm up`.

    Args:
        home: its PLAINFILM_HOME.
        environment: added to ours.
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.held = hold_port()  # until it is stopped for good: between two starts, too, nobody else is given it
        self.port = port_of(self.held)
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {**environment, "PLAINFILM_HOME": str(home), "PLAINFILM_PORT": str(self.port)}
        self.process: subprocess.Popen[str] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=60.0)

    def start(self, wait_for: str = "workers") -> None:
        """Start it and wait until it is ready and, unless told otherwise, a worker lives."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shared.cli", "up"],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_until(lambda: self.readiness(wait_for) or self._ended(), f"the service to start: {self.logs()}")
        assert self.process.poll() is None, self.process.communicate()[0]

    def readiness(self, wait_for: str) -> bool:
        """True once /readyz says so."""
        try:
            state = self.http.get("/readyz").json()
        except (httpx.TransportError, ValueError):
            return False
        return bool(state["ready"] and (wait_for != "workers" or state["workers"]))

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it, the way Ctrl-C does."""
        self.http.close()
        self.held.close()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()  # and with it its parts
                raise
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def key(self) -> str:
        """Its admin key."""
        return (self.home / "api-key").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        """What a client of the API sends."""
        return {"Authorization": f"Bearer {self.key}"}

    def login_url(self) -> str:
        """A fresh one-time link."""
        return self.run("key", "link").stdout.strip()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `plainfilm` command against this home."""
        return subprocess.run(
            [sys.executable, "-m", "shared.cli", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def submit(self, data: bytes, **params: str) -> wire.Job:
        """Send a film for a worker to answer, whatever is stored; it must be accepted."""
        headers = {**self.headers, "Content-Type": "image/png", "Cache-Control": "no-cache"}
        response = self.http.post("/api/v1/jobs", content=data, params=params, headers=headers)
        assert response.status_code in {200, 202}, response.text  # 200: it has ended before it was told
        return wire.Job.model_validate_json(response.content)

    def job(self, job_id: str) -> wire.Job:
        """The job as it is now."""
        return wire.Job.model_validate_json(self.http.get(f"/api/v1/jobs/{job_id}", headers=self.headers).content)

    def done(self, job_id: str) -> wire.Job:
        """The job once it is done."""
        return wait_until(lambda: (job := self.job(job_id)).done and job, f"job {job_id} to end")

    def explanation(self, job_id: str, method: str) -> wire.ExplanationDetail:
        """What is known of a map as it is now."""
        answer = self.http.get(f"/api/v1/jobs/{job_id}/explanations/{method}.json", headers=self.headers)
        return wire.ExplanationDetail.model_validate_json(answer.content)

    def explained(self, job_id: str, method: str) -> wire.ExplanationDetail:
        """The same once it is over."""
        return wait_until(
            lambda: (found := self.explanation(job_id, method)).done and found, f"{method} of job {job_id} to end"
        )

    def jobs(self) -> list[wire.Job]:
        """All jobs, up to a page."""
        response = self.http.get("/api/v1/jobs", params={"limit": "200"}, headers=self.headers)
        return wire.JobList.model_validate_json(response.content).jobs

    def settle(self) -> None:
        """Wait until the sample films of its first start are queued, and all that it was sent is answered."""
        count = len(samples.paths())
        wait_until(
            lambda: len(jobs := self.jobs()) >= count and all(job.done for job in jobs), "the samples to be answered"
        )

    def pids(self, *words: str) -> list[int]:
        """Living processes of this home whose command line holds all `words`."""
        return [
            int(folder.name)
            for folder in Path("/proc").iterdir()
            if folder.name.isdigit() and _is_ours(folder, self.home, [word.encode() for word in words])
        ]

    def logs(self) -> str:
        """The end of every part's log."""
        return "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in (self.home / "logs").glob("*.log"))

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None


def films(count: int) -> Iterator[bytes]:
    """Films that differ: nothing medical about them."""
    return (make_png(pixels=make_pixels(height_px=64, width_px=64, seed=n)) for n in range(count))


def freeze(service: Service, group: int) -> None:
    """Stop a worker, at a moment when it does not hold SQLite's lock."""
    for _ in range(100):
        os.killpg(group, signal.SIGSTOP)
        wait_until(lambda: stands_still(group), "the worker to stand still")  # what it asked the kernel for comes first
        with contextlib.closing(sqlite3.connect(service.home / "plainfilm.db", timeout=0.2)) as probe:
            try:
                probe.execute("BEGIN IMMEDIATE").close()
            except sqlite3.OperationalError:
                os.killpg(group, signal.SIGCONT)
                time.sleep(0.05)
            else:
                return
    raise AssertionError("the worker always holds the lock")


def stands_still(pid: int) -> bool:
    """Whether no thread of a process that was stopped runs any more, nor is in a call that has an effect yet."""
    try:
        told = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread that has just ended
        return False
    return {stat.rsplit(")", 1)[1].split()[0] for stat in told} == {"T"}


@contextlib.contextmanager
def frozen_worker(service: Service) -> Iterator[int]:
    """Its one worker stands still in the block; its process group."""
    group = os.getpgid(service.pids("worker.run")[0])
    freeze(service, group)
    try:
        yield group
    finally:
        os.killpg(group, signal.SIGCONT)


def _is_ours(folder: Path, home: Path, words: list[bytes]) -> bool:
    """By its environment; the broker writes its title over that, and is known by its working folder."""
    try:
        environment = (folder / "environ").read_bytes().split(b"\0")
        is_of_home = f"PLAINFILM_HOME={home}".encode() in environment or (folder / "cwd").readlink() == home / "run"
        command = (folder / "cmdline").read_bytes()
        state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return is_of_home and state != "Z" and all(word in command for word in words)
