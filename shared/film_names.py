"""Which files of a folder or a ZIP are films, for the command line: by their names, or by what a DICOM begins with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import IO, Final

FILM_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom"})
_DICOM_AT, _DICOM = 128, b"DICM"
_OF_MACS: Final = "._"
"""How macOS names what it knows of a file, beside it."""
_INDEX: Final = "DICOMDIR"
"""Of a disc: it begins as a DICOM film does."""


def is_film(name: str, open_it: Callable[[], AbstractContextManager[IO[bytes]]]) -> bool:
    """Whether a file of this name is one; it is opened where its name has no suffix, or a number as devices name them.

    Raises:
        OSError, or what else `open_it` and reading raise.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if name.startswith(_OF_MACS) or name.upper() == _INDEX:
        return False
    if suffix and not suffix[1:].isdigit():
        return suffix in FILM_SUFFIXES
    with open_it() as file:
        return file.read(_DICOM_AT + len(_DICOM)).endswith(_DICOM)
