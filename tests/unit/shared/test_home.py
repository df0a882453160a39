"""The folder of all state is its owner's alone, whichever command makes it, and one that cannot be used is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from shared import home
from shared.errors import InvalidRequest
from shared.settings import Settings


def start(home_folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command with the usual umask; one that would go on is ended by a broker that is not there."""
    return subprocess.run(
        [sys.executable, "-m", "shared.cli", *words],
        env={**os.environ, "PLAINFILM_HOME": str(home_folder), "PLAINFILM_MODEL_DIR": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.umask(0o022),
        timeout=60,
    )


@pytest.mark.parametrize("words", [("db", "upgrade"), ("worker", "run")], ids=" ".join)
def test_every_command_makes_it_for_its_owner_alone(tmp_path: Path, words: tuple[str, ...]) -> None:
    """With what is missing above it."""
    start(tmp_path / "deep" / "home", *words)
    assert (tmp_path / "deep" / "home").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o700


def test_the_room_is_that_of_the_disk_with_less(tmp_path: Path) -> None:
    """Films may be on a volume of their own; a home that is yet to be made would be on the disk above it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        for here, there in ((tmp_path / "a", Path(other) / "films"), (Path(other) / "b", tmp_path / "films")):
            here.mkdir()
            there.mkdir()
            (here / "films").symlink_to(there)
            least = min(shutil.disk_usage(folder).free for folder in (here, there))
            assert home.free_bytes(Settings(home=here)) == pytest.approx(least, rel=0.2)
    assert home.free_bytes(Settings(home=tmp_path / "not" / "yet")) > 0


def test_a_home_that_others_may_enter_is_told_of(tmp_path: Path) -> None:
    """In one line, with the command that closes it; it is not changed."""
    tmp_path.chmod(0o755)
    found = start(tmp_path, "db", "upgrade")
    assert found.returncode == 0
    assert found.stderr == f"other users of this machine may look into {tmp_path}: chmod 700 {tmp_path}\n"
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    tmp_path.chmod(0o700)
    assert start(tmp_path, "db", "upgrade").stderr == ""


@pytest.mark.parametrize("path", ["/etc/hostname", "/etc/hostname/x", "/proc/x"])
def test_a_home_that_cannot_be_one_is_named(path: str) -> None:
    """One line, no traceback."""
    with pytest.raises(InvalidRequest, match=f"PLAINFILM_HOME {path} cannot be used: "):
        home.prepare(Settings(home=Path(path)), print)
