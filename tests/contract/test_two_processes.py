"""What `make test` promises of its two processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tests_of_the_broker_stay_in_one_process_and_so_do_those_of_a_file() -> None:
    """By the options of the Makefile; the words of the output are pytest-xdist's."""
    options = re.findall(r"^\t\$\(BIN\)/pytest (--numprocesses.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0]
    files = [f"tests/contract/test_{name}.py" for name in ("queue", "idle_workers", "task_names")]
    command = [sys.executable, "-m", "pytest", "-v", *options.split(), *files]
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)
    found = re.findall(r"^\[(gw\d)\].* (tests/contract/\w+\.py)::", ran.stdout, re.MULTILINE)
    homes = {file: {process for process, other in found if other == file} for file in files}
    assert [len(processes) for processes in homes.values()] == [1, 1, 1], ran.stdout
    assert homes[files[0]] == homes[files[1]] != homes[files[2]]
