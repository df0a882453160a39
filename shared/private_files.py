"""Small secrets kept as files that only their owner reads, and folders that only their owner enters."""

from __future__ import annotations

import itertools
import os
import posix
import secrets
from collections.abc import Callable
from pathlib import Path


def read_or_make(path: Path, make: Callable[[], str]) -> str:
    """The file's text; made with mode 0600 where it is absent. Of two makers at once, the first wins."""
    if not path.exists():
        make_folder(path.parent)
        temporary = _write_beside(path, make())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text(encoding="utf-8").strip()


def make_folder(path: Path) -> None:
    """Make it, and what is missing above it, with mode 0700; one that is there stays as it is."""
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def write(path: Path, text: str) -> None:
    """Write `text` with mode 0600, durably; a reader finds all of it, or what was there before."""
    _write_beside(path, text).replace(path)


def _write_beside(path: Path, text: str) -> Path:
    """A new file in the same folder; where it cannot be written whole, none stays."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError:
        temporary.unlink()
        raise
    return temporary


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk.

    Closed by the system's own call: gevent's `os.close` leaves a folder to the loop of its thread, and the loop of a
    thread that only works for others never turns (DECISIONS 83).
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        posix.close(descriptor)


def put_aside(path: Path) -> Path:
    """Rename it to `<name>.old`, or `.old2`, `.old3`, ... where that is taken, with mode 0600; return its new place."""
    names = (path.with_name(f"{path.name}.old{number if number > 1 else ''}") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    aside.chmod(0o600)
    return aside
