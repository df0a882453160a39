"""The designs that are measured: each is started on free loopback ports with a broker of its own, and stopped by pid.

What is tuned of a peer is a list of settings; the first was found best on two cores, and is what a quick run takes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from shared import broker
from shared.broker import free_port
from shared.processes import die_with_parent
from tests.bench import stats
from tests.bench.peers import tutorial
from tests.bench.plan import SLOW_FILMS
from tests.bench.tree import Tree
from worker.engine.choose import Precision

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
STOP_GRACE_S = 30.0

Setting = Mapping[str, Any]  # Any: of each design's own
"""What is tuned of a design."""

BROKER: Mapping[str, str] = MappingProxyType({"broker.conf": "broker", "-server 127.0.0.1": "broker"})
"""Before and after it renames itself."""

LITSERVE_FIRST: Setting = MappingProxyType({
    "workers": 2, "threads": 1, "batch": 1, "batch_wait_s": 0.0, "decoder": "plainfilm", "api_servers": 1,
    "fast_queue": False,
})  # fmt: skip


@dataclass(slots=True)
class Server:
    """A design that was started.

    Attributes:
        processes: its own, the first started first.
        key_file: where plainfilm writes its key; None for the others.
    """

    name: str
    port: int
    folder: Path
    parts: Mapping[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    key_file: Path | None = None

    @property
    def tree(self) -> Tree:
        """All its processes."""
        return Tree([process.pid for process in self.processes], self.parts)

    def key(self) -> str:
        """What its clients send.

        Raises:
            FileNotFoundError: there is none yet.
        """
        return "" if self.key_file is None else self.key_file.read_text(encoding="utf-8").strip()

    def check(self) -> None:
        """Return while all its processes live.

        Raises:
            RuntimeError: one has ended; names the logs.
        """
        if any(process.poll() is not None for process in self.processes):
            raise RuntimeError(f"A part of '{self.name}' has ended; see the logs in {self.folder}.")

    def launch(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start one process of it, its output in the folder."""
        with (self.folder / f"{len(self.processes)}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**clean_environment(), **environment}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509  no thread of ours runs yet
            )  # fmt: skip
        self.processes.append(process)

    def stop(self) -> None:
        """End it, the last started first: asked first, then killed with its group."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_GRACE_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Design(Protocol):
    """How one design is started."""

    @property
    def name(self) -> str:
        """As in the results."""

    @property
    def settings(self) -> Sequence[Setting]:
        """What may be tried, the best known first."""

    @property
    def precision(self) -> Precision | None:
        """Of its arithmetic; None is plainfilm's usual one."""

    @property
    def is_aside(self) -> bool:
        """Measured in a full run only, and at the headline's loads only."""

    @property
    def most_films(self) -> int | None:
        """It sends no more a load, since it is slow; None where it sends all."""

    def start(self, folder: Path, setting: Setting) -> Server:
        """Start it with its state in `folder`; returns before it is ready."""


@dataclass(frozen=True, slots=True)
class Plainfilm:
    """`plainfilm up` with nothing set but home and port, a precision where one is given, and what a trial sets."""

    name: str = stats.PLAINFILM
    settings: Sequence[Setting] = ({},)
    precision: Precision | None = None
    is_aside: bool = False
    most_films: int | None = None

    def start(self, folder: Path, setting: Setting) -> Server:
        """As `Design.start`."""
        parts = {"decoder_process": "decoder", "web.wsgi": "web", "web.run": "web", "worker.run": "worker",
                 **BROKER, "shared.cli up": "supervisor"}  # fmt: skip
        home = folder / "home"
        server = Server(self.name, free_port(), folder, parts, key_file=home / "api-key")
        environment = {**setting, "PLAINFILM_HOME": str(home), "PLAINFILM_PORT": str(server.port)}
        if self.precision is not None:
            environment["PLAINFILM_PRECISION"] = self.precision
        server.launch([PYTHON, "-m", "shared.cli", "up"], environment)
        return server


@dataclass(frozen=True, slots=True)
class Tutorial:
    """gunicorn, Celery's prefork pool of two, Redis as broker and result backend: see `peers/tutorial.py`."""

    name: str = stats.TUTORIAL
    settings: Sequence[Setting] = (
        {"threads": 1, "web": ["--workers=2", "--threads=16"]},
        {"threads": 0, "web": ["--workers=2", "--threads=16"]},
        {"threads": 1, "web": ["--workers=1", "--threads=32"]},
        {"threads": 1, "web": ["--workers=4"]},
        {"threads": 2, "web": ["--workers=2", "--threads=16"]},
    )
    precision: Precision | None = "f32"
    is_aside: bool = False
    most_films: int | None = SLOW_FILMS

    def start(self, folder: Path, setting: Setting) -> Server:
        """As `Design.start`."""
        parts = {**BROKER, "gunicorn": "web", "celery": "worker"}
        server = Server(self.name, free_port(), folder, parts)
        command, url = broker.configure(folder / "broker")
        environment = {
            tutorial.REDIS_URL: url,
            tutorial.THREADS: str(setting["threads"]),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        module = "tests.bench.peers.tutorial"
        serve = [PYTHON, "-m", "gunicorn", *setting["web"], f"--bind=127.0.0.1:{server.port}", f"{module}:create_app()"]
        work = [PYTHON, "-m", "celery", "-A", module, "worker", "--pool=prefork", "--concurrency=2"]
        server.launch(command, {})
        broker.wait_until_up(url)
        server.launch(
            [*serve, "--keep-alive=15", "--timeout=60", "--log-level=warning", "--no-control-socket"], environment
        )
        server.launch(work, environment)
        return server


@dataclass(frozen=True, slots=True)
class LitServe:
    """LitServe over the same graph: see `peers/litserve_peer.py`."""

    name: str = stats.LITSERVE
    settings: Sequence[Setting] = (
        LITSERVE_FIRST,
        {**LITSERVE_FIRST, "decoder": "pillow"},
        {**LITSERVE_FIRST, "fast_queue": True},
        {**LITSERVE_FIRST, "api_servers": 2},
        {**LITSERVE_FIRST, "batch": 4, "batch_wait_s": 0.005},
        {**LITSERVE_FIRST, "workers": 1, "threads": 2, "batch": 8, "batch_wait_s": 0.005},
    )
    precision: Precision | None = None
    is_aside: bool = False
    most_films: int | None = None

    def start(self, folder: Path, setting: Setting) -> Server:
        """As `Design.start`."""
        server = Server(self.name, free_port(), folder, {"": "all"})
        peer = json.dumps({"port": server.port, "tuning": dict(setting)})
        server.launch([PYTHON, "-m", "tests.bench.peers.litserve_peer"], {"BENCH_PEER": peer})
        return server


def all_servers(*, is_full: bool) -> Sequence[Design]:
    """In the order of a round; the ceiling is no server and comes last."""
    aside = (Plainfilm(stats.PLAINFILM_FLOAT32, precision="f32", is_aside=True),)
    return (Plainfilm(), *(aside if is_full else ()), Tutorial(), LitServe())


def clean_environment() -> dict[str, str]:
    """Ours without plainfilm's settings: it runs with its defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PLAINFILM_")}
