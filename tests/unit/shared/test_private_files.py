"""Small secrets: one maker wins, only the owner reads."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shared import private_files


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    """The second time the first one's text is read, and nothing is made."""
    path = tmp_path / "deep" / "secret"
    count = itertools.count()
    first, second = (private_files.read_or_make(path, lambda: f"made {next(count)}\n") for _ in range(2))
    assert first == second == "made 0"
    assert next(count) == 1


def test_only_the_owner_reads(tmp_path: Path) -> None:
    """0600, whether made or written, whatever was there before."""
    made, written = tmp_path / "made", tmp_path / "written"
    private_files.read_or_make(made, lambda: "x")
    written.write_text("open to all")
    written.chmod(0o666)
    private_files.write(written, "y")
    assert (mode(made), mode(written)) == (0o600, 0o600)
    assert written.read_text() == "y"


def test_makers_at_once_agree(tmp_path: Path) -> None:
    """The other maker's file is there between look and link: its text is the answer, ours is dropped."""
    path = tmp_path / "secret"

    def late() -> str:
        path.write_text("theirs")
        return "ours"

    assert private_files.read_or_make(path, late) == "theirs"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_a_link_in_the_way_is_replaced_not_followed(tmp_path: Path) -> None:
    """Writing a secret never fills a file that someone pointed at."""
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / "secret").symlink_to(target)
    private_files.write(tmp_path / "secret", "new")
    assert target.read_text() == "kept"
    assert not (tmp_path / "secret").is_symlink()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, under its name, and nothing beside it: who reads meanwhile, or after a crash, finds one of the two."""
    path = tmp_path / "url"
    private_files.write(path, "before")
    monkeypatch.setattr(os, "fsync", lambda _descriptor: Path("/not/there").stat())
    with pytest.raises(FileNotFoundError):
        private_files.write(path, "after")
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["url"]


def test_threads_that_start_together_get_one_secret(tmp_path: Path) -> None:
    """Each reads the same text, and no temporary file stays."""
    path, together = tmp_path / "secret", threading.Barrier(4)
    seen: list[str] = []

    def read(n: int) -> None:
        together.wait()
        seen.append(private_files.read_or_make(path, lambda: f"maker {n}"))

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


UNDER_GEVENT = """
import sys
from gevent import monkey
monkey.patch_all()
import os
import gevent
from pathlib import Path
from shared import private_files
from shared.greenlets import run_in_thread

def sync():
    gevent.get_hub()  # as any wait for a lock of gevent's makes one, an import's among them
    private_files.sync(Path(sys.argv[1]))
    return len(os.listdir("/proc/self/fd"))

print(len({run_in_thread(sync) for _ in range(5)}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_folder_is_closed_in_a_thread_that_has_a_loop_of_its_own(tmp_path: Path) -> None:
    """The `os.close` of gevent would leave each open for good: two a film, until the process may open nothing more."""
    command = [sys.executable, "-c", UNDER_GEVENT, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
