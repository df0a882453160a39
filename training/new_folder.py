"""The folder that a run or a model is written to: new, known to be writable before the work; and whole files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import InvalidRequest
from shared.private_files import sync


def check_empty(out: Path) -> None:
    """A folder that is written to must be new, so that nothing in it is overwritten.

    Raises:
        InvalidRequest: it holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidRequest(f"'{out.name}' is not an empty folder; name a new one.")


def make_folder(out: Path) -> None:
    """Make the folder that is written to, before the work and not after it.

    Raises:
        InvalidRequest: it cannot be made, or may not be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"The folder '{out}' cannot be made: {error.strerror}.") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise InvalidRequest(f"The folder '{out}' may not be written to.")


@contextmanager
def written_whole(out: Path, last: str) -> Iterator[Path]:
    """A folder in `out` to write files into; once all are there they come out of it, the one named `last` last.

    What is cut off in the middle leaves nothing that could be taken for the whole.
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
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data.encode() if isinstance(data, str) else data)
    sync(part)
    part.replace(path)
