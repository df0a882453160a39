"""Which files of a folder or a ZIP are films, for the command line: by their names, or by DICOM's first bytes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import IO, Final

FILM_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom"})
_DICOM_AT, _DICOM = 128, b"DICM"
_MACOS_PREFIX: Final = "._"
"""macOS stores a file's metadata beside it under its name with this prefix."""
_DISC_INDEX_NAME: Final = "DICOMDIR"
"""The index file of a DICOM disc, which has the first bytes of a DICOM film."""


def is_film(name: str, open_it: Callable[[], AbstractContextManager[IO[bytes]]]) -> bool:
    """Whether a file is a film; it is opened where its name has no suffix, or a number as some devices write.

    Raises:
        OSError, or any other error of `open_it` and of reading.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if name.startswith(_MACOS_PREFIX) or name.upper() == _DISC_INDEX_NAME:
        return False
    if suffix and not suffix[1:].isdigit():
        return suffix in FILM_SUFFIXES
    with open_it() as file:
        return file.read(_DICOM_AT + len(_DICOM)).endswith(_DICOM)
