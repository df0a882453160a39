"""Films in a ZIP, for the command line: read into memory one by one. Nothing is unpacked to a disk.

The archive may be anybody's: an entry's name is only shown, what it claims is not believed beyond a limit, and what
cannot be read is told of that one film. Archives in archives are no films.
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
"""Of one archive: as many films as a tenant may have waiting, unless that was set otherwise."""

MOST_BYTES: Final = 64 * 2**20
"""Of one film: more than that no service takes, whatever its settings."""

ENCRYPTED: Final = 0x1
"""The bit of an entry's flags that says so."""

READ: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""How an entry may be packed: as every program packs it."""

OF_MACS: Final = "__MACOSX/"
"""Where macOS keeps what it knows of each file beside it, under the file's own name."""

UNREADABLE: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError)
"""What the standard library raises on an archive that is cut, altered, encrypted, of a later version, or not one."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A film of an archive; as a text the archive's path and, behind it, the entry's name."""

    path: Path
    archive: zipfile.ZipFile
    entry: zipfile.ZipInfo

    def __str__(self) -> str:
        """Without what could steer a terminal."""
        shown = "".join(sign if sign.isprintable() else "?" for sign in self.entry.filename)
        return f"{self.path}/{shown}"

    def read_bytes(self) -> bytes:
        """The film's bytes, at most as many as the entry claims to have.

        Raises:
            TooLarge: it claims more than `MOST_BYTES`; nothing was unpacked.
            UnreadableImage: it is encrypted, packed in a rare way, or not what it claims to be.
        """
        entry = self.entry
        if entry.file_size > MOST_BYTES:
            raise TooLarge(f"The file in the ZIP is larger than {MOST_BYTES} bytes.")
        if entry.flag_bits & ENCRYPTED or entry.compress_type not in READ:
            raise UnreadableImage("The file in the ZIP is encrypted, or packed in a way that is not read; unpack it.")
        try:
            with self.archive.open(entry) as packed:
                data = packed.read(entry.file_size + 1)  # a bound: without one a whole bomb is unpacked, then cut
        except UNREADABLE:
            data = None
        if data is None or len(data) != entry.file_size:
            raise UnreadableImage("The file in the ZIP is damaged.")
        return data


def films_in(path: Path) -> list[Packed]:
    """The films of an archive in its order, folders and all; open as long as one of them is kept.

    Raises:
        RefusedUpload: it is no ZIP, is cut, has too many entries, or no film.
    """
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE:
        raise RefusedUpload("The file is no ZIP that can be read, or not all of one.") from None
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise RefusedUpload(f"The ZIP has more than {MOST_ENTRIES} entries; send it as several.")
    films = [entry for entry in entries if _is_film(archive, entry)]
    if not films:
        raise RefusedUpload("The ZIP has no PNG, JPEG or DICOM film in it; archives in archives are not looked into.")
    return [Packed(path, archive, entry) for entry in films]


def _is_film(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    if not entry.filename or entry.filename.startswith(OF_MACS) or entry.is_dir():
        return False
    try:
        return is_film(PurePosixPath(entry.filename).name, lambda: archive.open(entry))
    except UNREADABLE:
        return False
