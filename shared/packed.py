"""Films in a ZIP, for the command line: read into memory one by one. Nothing is unpacked to a disk.

The archive is not trusted: an entry's name is only displayed, the size that it declares is limited, and an entry that
cannot be read is an error of that one film. Archives in archives are not opened.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from shared.errors import RefusedUpload, TooLarge, UnreadableImage
from shared.film_names import is_film

MOST_ENTRIES: Final = 20_000
"""Of one archive: by default as many films as a tenant may have waiting."""

MOST_BYTES: Final = 64 * 2**20
"""Of one film: no service accepts more, whatever its settings."""

ENCRYPTED_FLAG: Final = 0x1
"""The bit of an entry's flags for encryption."""

READABLE_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""The compression methods that are read: those that all programs write."""

MACOS_FOLDER: Final = "__MACOSX/"
"""The folder in which macOS stores each file's metadata under the file's own name."""

UNREADABLE: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError)
"""Errors of the standard library for an archive that is truncated, altered, encrypted, too new, or not a ZIP."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A film of an archive; its text is the archive's path followed by the entry's name."""

    path: Path
    archive: zipfile.ZipFile
    entry: zipfile.ZipInfo

    def __str__(self) -> str:
        """Return path and name without characters that could control a terminal."""
        name = "".join(character if character.isprintable() else "?" for character in self.entry.filename)
        return f"{self.path}/{name}"

    def read_bytes(self) -> bytes:
        """Return the film's bytes, at most as many as the entry declares.

        Raises:
            TooLarge: the entry declares more than `MOST_BYTES`; nothing was unpacked.
            UnreadableImage: it is encrypted, compressed by another method, or damaged.
        """
        entry = self.entry
        if entry.file_size > MOST_BYTES:
            raise TooLarge(f"The file in the ZIP is larger than {MOST_BYTES} bytes.")
        if entry.flag_bits & ENCRYPTED_FLAG or entry.compress_type not in READABLE_METHODS:
            raise UnreadableImage("The file in the ZIP is encrypted, or its compression is not supported; unpack it.")
        try:
            with self.archive.open(entry) as packed:
                data = packed.read(entry.file_size + 1)  # bounded: else a whole ZIP bomb is unpacked, then truncated
        except UNREADABLE:
            data = None
        if data is None or len(data) != entry.file_size:
            raise UnreadableImage("The file in the ZIP is damaged.")
        return data


def films_in(path: Path) -> list[Packed]:
    """Return the films of an archive in its order, from all its folders; it stays open as long as one is referenced.

    Raises:
        RefusedUpload: the file is no ZIP, is truncated, has too many entries, or no film.
    """
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE:
        raise RefusedUpload("The file is not a readable ZIP, or it is incomplete.") from None
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise RefusedUpload(f"The ZIP has more than {MOST_ENTRIES} entries; send it as several.")
    films = [entry for entry in entries if _is_film(archive, entry)]
    if not films:
        raise RefusedUpload("The ZIP contains no PNG, JPEG or DICOM film; archives inside archives are not searched.")
    return [Packed(path, archive, entry) for entry in films]


def _is_film(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    if not entry.filename or entry.filename.startswith(MACOS_FOLDER) or entry.is_dir():
        return False
    try:
        return is_film(PurePosixPath(entry.filename).name, lambda: archive.open(entry))
    except UNREADABLE:
        return False
