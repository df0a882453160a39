"""Small secrets in files that only their owner can read, and folders that only their owner can enter."""

from __future__ import annotations

import itertools
import os
import posix
import secrets
from collections.abc import Callable
from pathlib import Path


def read_or_make(path: Path, make: Callable[[], str]) -> str:
    """Return the file's text; make the file with mode 0600 where it is absent. Of concurrent makers the first wins."""
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
    """Make a folder and its missing parents with mode 0700; an existing folder is not changed."""
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def write(path: Path, text: str) -> None:
    """Write `text` with mode 0600, durably and atomically: a reader gets the whole text or the previous one."""
    _write_beside(path, text).replace(path)


def _write_beside(path: Path, text: str) -> Path:
    """Write `text` to a new file in the same folder and return it; a file that cannot be written whole is deleted."""
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

    The descriptor is closed by the system's own call: gevent's `os.close` leaves a folder to the event loop of its
    thread, and in a thread of gevent's pool that loop never runs (DECISIONS 83).
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        posix.close(descriptor)


def put_aside(path: Path) -> Path:
    """Rename a file to `<name>.old`, or `.old2`, `.old3`, ... where that exists, with mode 0600; return the path."""
    names = (path.with_name(f"{path.name}.old{number if number > 1 else ''}") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    aside.chmod(0o600)
    return aside
