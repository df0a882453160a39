"""Which interpreter the Makefile takes: `python3` of PATH, unless another build of its version is clearly quicker."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "quickest_python.py"
REAL = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]


@pytest.fixture
def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("quickest_python", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Build = tuple[tuple[int, int], str, float]
"""Version, the file that it is, seconds for the work."""

Run = Callable[[Mapping[str, Build | None]], tuple[str, str]]


@pytest.fixture
def run(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """What the script prints, without the temporary folder's name, given interpreters by 'folder/name' in PATH's order.

    None is one that makes no environment.
    """

    def run(builds: Mapping[str, Build | None]) -> tuple[str, str]:
        for place in builds:
            path = tmp_path / place
            path.parent.mkdir(exist_ok=True)
            path.touch(0o755)
        folders = dict.fromkeys(str((tmp_path / place).parent) for place in builds)
        monkeypatch.setenv("PATH", os.pathsep.join(folders))

        def ask(interpreter: str, code: str) -> str | None:
            build = builds[str(Path(interpreter).relative_to(tmp_path))]
            if build is None:
                return None
            version, real, took = build
            return json.dumps([real, version, "cpython"]) if code == script.LOOK else str(took)

        monkeypatch.setattr(script, "ask", ask)
        script.main()
        said = capsys.readouterr()
        return said.out.replace(f"{tmp_path}/", "").strip(), said.err.replace(f"{tmp_path}/", "").strip()

    return run


SLOW, QUICK = ((3, 11), "/slow", 1.4), ((3, 11), "/quick", 1.0)


@pytest.mark.parametrize(
    ("builds", "expected"),
    [
        ({"a/python3": SLOW, "b/python3": QUICK}, "b/python3"),
        ({"a/python3": QUICK, "b/python3": SLOW}, "a/python3"),
        ({"a/python3": SLOW, "b/python3.11": QUICK}, "b/python3.11"),
        ({"a/python3": ((3, 11), "/slow", 1.05), "b/python3": QUICK}, "a/python3"),
        ({"a/python3": SLOW, "b/python3": ((3, 12), "/other", 0.5)}, "a/python3"),
        ({"a/python3": ((3, 10), "/old", 0.5), "a/python3.12": ((3, 12), "/new", 1.0)}, "a/python3.12"),
        ({"a/python3": None, "b/python3": SLOW}, "b/python3"),
        ({"a/python3": SLOW, "b/python3": None}, "a/python3"),
        ({"a/python3": SLOW, "b/python3": ((3, 11), "/slow", 0.1)}, "a/python3"),
    ],
    ids=[
        "a quicker build", "the first is the quicker", "by its version's name", "hardly quicker", "another version",
        "the first is too old", "the first makes no environment", "the second makes none", "one file, two names",
    ],
)  # fmt: skip
def test_takes_python3_unless_another_build_of_its_version_is_quicker(
    run: Run, builds: Mapping[str, Build | None], expected: str
) -> None:
    """By its path."""
    assert run(builds)[0] == expected


def test_says_why_it_is_not_python3(run: Run) -> None:
    """With the way back."""
    said = "b/python3: 1.4 times as quick as a/python3. To use that: make clean, then make PYTHON=a/python3"
    assert run({"a/python3": SLOW, "b/python3": QUICK})[1] == said
    assert run({"a/python3": QUICK, "b/python3": SLOW})[1] == ""


def test_says_what_is_missing(run: Run) -> None:
    """None fits: which do, and how to name one."""
    with pytest.raises(SystemExit, match=r"3\.11, 3\.12 or 3\.13 with venv.*python3-venv.*make PYTHON="):
        run({"a/python3": ((3, 9), "/old", 1.0)})


def test_asks_real_interpreters(tmp_path: Path) -> None:
    """A shim that fails, as pyenv's does for a version that is not chosen, is passed over."""
    shims, real = tmp_path / "shims", tmp_path / "real"
    for folder in (shims, real):
        folder.mkdir()
    (shims / "python3").write_text("#!/bin/sh\nexit 127\n")
    (shims / "python3").chmod(0o755)
    (real / "python3").symlink_to(REAL)
    found = subprocess.run(
        [sys.executable, SCRIPT], env={"PATH": f"{shims}:{real}"}, capture_output=True, text=True, check=True
    )
    assert (found.stdout, found.stderr) == (f"{real / 'python3'}\n", "")
