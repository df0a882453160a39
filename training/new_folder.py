"""Output folders and files of training: folders are empty and writable before work begins, files appear whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import InvalidRequest
from shared.private_files import sync


def check_empty(out: Path) -> None:
    """Check that an output folder is absent or empty, so that nothing in it is overwritten.

    Raises:
        InvalidRequest: it holds files, or is no folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidRequest(f"'{out.name}' is not an empty folder; name a new one.")


def make_folder(out: Path) -> None:
    """Make an output folder, so that an error shows before the work and not after it.

    Raises:
        InvalidRequest: it cannot be made, or is not writable.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"The folder '{out}' cannot be made: {error.strerror}.") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise InvalidRequest(f"The folder '{out}' may not be written to.")


@contextmanager
def written_whole(out: Path, last: str) -> Iterator[Path]:
    """Yield a draft folder in `out`; at the end its files are moved to `out`, the one named `last` last.

    An interrupted write leaves no set of files that could be taken for a complete one.
    """
    draft = out / ".draft"
    draft.mkdir()
    try:
        yield draft
        for path in sorted(draft.iterdir(), key=lambda path: path.name == last):
            path.replace(out / path.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file atomically: whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data.encode() if isinstance(data, str) else data)
    sync(part)
    part.replace(path)
