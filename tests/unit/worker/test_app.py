"""Celery's part of a worker: a child that cannot start ends, since Celery would keep it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker.app import EXIT_NO_START

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "fault",
    ["sys.modules['worker.boot'] = None", "import worker.boot; worker.boot.start = lambda *_: 1 / 0"],
    ids=["its modules cannot be imported", "it fails to start"],
)
def test_a_child_that_cannot_start_ends(fault: str) -> None:
    """With a status and a line in the log: the next one may find what was missing."""
    code = (
        "import sys\n"
        "from celery.signals import worker_process_init\n"
        "from pydantic import SecretStr\n"
        "from shared.settings import Settings\n"
        "from worker.app import work_in_children\n"
        f"{fault}\n"
        "work_in_children(Settings(redis_url=SecretStr('redis://127.0.0.1:1/0')))\n"
        "worker_process_init.send(sender=None)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == EXIT_NO_START, ran.stderr
    assert "worker.not_started" in ran.stdout + ran.stderr
