"""The parts that `plainfilm up` starts end as commands do: one line in their log, exit status 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.exits import end_plainly


def start(module: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m module` in a home of its own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PLAINFILM_")}
    return subprocess.run(
        [sys.executable, "-m", module],
        env={**ours, "PLAINFILM_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", ["worker.run", "web.run"])
def test_a_part_with_a_bad_setting_says_so(module: str, tmp_path: Path) -> None:
    """The supervisor writes it to the part's log."""
    found = start(module, tmp_path, PLAINFILM_PORT="many")
    assert found.returncode == 1
    assert found.stderr.startswith("plainfilm: Settings cannot be used: PLAINFILM_PORT: ")
    assert len(found.stderr.splitlines()) == 1


def test_a_worker_without_a_broker_says_so(tmp_path: Path) -> None:
    """Before it looks at its weights."""
    found = start("worker.run", tmp_path)
    assert found.returncode == 1
    assert found.stderr.startswith("plainfilm: No broker is known: ")


def test_a_missing_import_of_no_extra_is_a_fault_of_ours() -> None:
    """And keeps its traceback."""

    def run() -> None:
        raise ModuleNotFoundError(name="nothing")

    with pytest.raises(ModuleNotFoundError):
        end_plainly(run, None)
    with pytest.raises(SystemExit, match=r"'train' needs 'nothing': pip install '\.\[training\]' in"):
        end_plainly(run, "train")
