"""The keeper of a trial's parts: what is retired stays so, whatever the keeper was just doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.keeper import Keeper, Part


def test_a_part_that_is_just_being_started_is_retired_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has ended when `retire` returns, and is not started again."""
    is_starting, go_on, start = threading.Event(), threading.Event(), subprocess.Popen

    def start_late(_command: object, **options: Any) -> subprocess.Popen[bytes]:
        is_starting.set()
        assert go_on.wait(60)
        return start([sys.executable, "-c", "import time; time.sleep(600)"], **options)

    monkeypatch.setattr(subprocess, "Popen", start_late)
    keeper, part = Keeper(tmp_path), Part("slow", [])
    keeper.start()
    keeper.add(part)
    assert is_starting.wait(60)
    retiring = threading.Thread(target=keeper.retire, args=([part],))
    retiring.start()
    retiring.join(0.3)
    go_on.set()
    retiring.join()
    assert (part.process, part.statuses) == (None, [-signal.SIGTERM])
    keeper.close()
