"""Who may know whom: by the contracts of pyproject, and by what a fresh process really loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TENSORFLOW = ("tensorflow", "keras", "h5py")


def loaded_by(statement: str, names: tuple[str, ...]) -> list[str]:
    """Which of `names` a fresh process has loaded after `statement`."""
    code = f"import sys\n{statement}\nprint(*(name for name in {names!r} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_the_contracts_of_the_house_are_kept() -> None:
    """import-linter's verdict on the whole tree."""
    linter = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert " 0 broken." in ran.stdout


@pytest.mark.parametrize("module", ["web.app", "web.cli"])
def test_the_front_door_is_light(module: str) -> None:
    """No network library, no worker, no workshop, not even through importlib."""
    heavy = (*TENSORFLOW, "sklearn", "matplotlib", "worker", "training")
    assert loaded_by(f"import {module}", heavy) == []


@pytest.mark.parametrize("module", ["worker.app", "worker.boot", "worker.tasks", "worker.cli", "worker.alive"])
def test_the_worker_loads_the_network_only_in_its_child(module: str) -> None:
    """TensorFlow comes after the fork; the front door never."""
    assert loaded_by(f"import {module}", (*TENSORFLOW, "flask", "web", "training")) == []


@pytest.mark.parametrize("module", ["shared.up", "shared.supervisor", "worker.app", "worker.tasks", "worker.cli"])
def test_a_process_that_only_starts_others_stays_small(module: str) -> None:
    """The supervisor and the parent of a pool child touch no pixel and no table: numpy is 16 MB, SQLAlchemy 24."""
    assert loaded_by(f"import {module}", ("numpy", "PIL", "sqlalchemy", "worker.boot")) == []


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("shared.up", ("redis", "valkey", "structlog", "pydantic_settings")),
        ("web.run", ("typer", "redis", "structlog", "gunicorn")),
        ("web.serve", ("flask", "structlog", "pydantic_settings", "sqlalchemy", "typer", "web.refusals")),
        ("worker.run", ("typer", "celery", "rich")),
        ("web.app", ("typer", "rich", "kornia_rs", "celery", "kombu", "httpcore")),
        ("worker.app", ("typer", "rich")),
        ("shared.webhooks.run", ("typer", "rich", "numpy", "PIL", "redis", "httpx", "shared.wiring")),
        ("shared.webhook_cli", ("httpx", "sqlalchemy", "shared.webhooks.run")),
    ],
)
def test_a_start_pays_for_what_it_needs(module: str, spared: tuple[str, ...]) -> None:
    """What each of them would cost: DECISIONS 41, 63."""
    assert loaded_by(f"import {module}", spared) == []


def test_the_watch_sees_what_is_loaded() -> None:
    """The checks above can fail."""
    assert loaded_by("import importlib; importlib.import_module('fl' + 'ask')", ("flask", "keras")) == ["flask"]


def test_nothing_happens_at_import() -> None:
    """No file, no folder, no connection, no thread, no environment: modules only define."""
    code = (
        "import sys, threading, logging\n"
        "def watch(event, details):\n"
        "    if event in ('socket.connect', 'os.mkdir', 'sqlite3.connect', 'subprocess.Popen', 'os.fork'):\n"
        "        raise SystemExit(f'{event} {details}')\n"
        "    if event == 'open' and isinstance(details[1], str) and set(details[1]) & set('wax+'):\n"
        "        if '__pycache__' not in str(details[0]):\n"
        "            raise SystemExit(f'{event} {details}')\n"
        "sys.dont_write_bytecode = True\n"
        "sys.addaudithook(watch)\n"
        "import web.app, worker.app, worker.run, web.run, worker.cli, web.cli\n"
        "import shared.up, shared.doctor, shared.classify, shared.cli, shared.webhook_cli, shared.webhooks.run\n"
        "assert threading.active_count() == 1\n"
        "assert not logging.getLogger().handlers\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_only_the_settings_read_the_environment() -> None:
    """`os.environ` is passed on to child processes in one other place, and read nowhere else."""
    readers = set()
    for package in ("shared", "web", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                    readers.add(path.relative_to(ROOT).as_posix())
    assert readers <= {"shared/settings.py", "shared/supervisor.py"}
