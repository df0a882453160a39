"""Blobs as files at <root>/<tenant>/<job id>/<sha256>: written once, then fsync of the file and of its folders.

An object store's local adapter made no fsync call when it was measured, hence this one. A blob's name belongs to one
job and is never shared, so a delete needs no reference count; the names of a film and its copies are hard links to one
file, which is never written to again. No job has a row before its film is durable, so a file needs no temporary name
while it is written: a writer that dies leaves an orphan, complete or not.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from shared import faults, private_files
from shared.errors import BlobMissing, StorageDown, StorageFull
from shared.faults import Fault

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
REFERENCE = re.compile(r"[a-z0-9_-]{1,64}/[0-9a-f-]{36}/[0-9a-f]{64}")


def _accept_any() -> None:
    """Accept any folder."""


@dataclass(frozen=True, slots=True)
class LocalBlobs:
    """A BlobStore over one folder.

    Args:
        check: raises StorageDown where `root` is not the folder of our database's films. Called where a file or
            folder is missing, and before the first film of this process: not for each film.
    """

    root: Path
    check: Callable[[], None] = field(default=_accept_any, compare=False)
    _durable: set[Path] = field(default_factory=set, compare=False, repr=False)
    """The tenants' folders whose names this process has synced."""

    def try_to_change(self) -> None:
        """Check that the folder is ours, and create and delete a file in it.

        Raises:
            StorageDown: the folder is not ours, or the disk refuses changes.
        """
        self.check()
        probe = self.root / f".tmp-{os.getpid()}"
        try:
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise StorageDown("The films' folder takes no changes.", why=error.strerror) from error

    def put(self, tenant: str, job_id: str, data: bytes, sha256: str | None = None) -> str:
        """Store durably; return the reference. `sha256` is of `data`, in hex, where the caller has computed it.

        Raises:
            StorageFull: the disk is full; no partial file stays.
            StorageDown: the disk is read-only or away, or the folder is another database's; no partial file stays.
            BlobMissing: the blob was stored before, and is damaged.
        """
        ref = f"{tenant}/{job_id}/{sha256 or hashlib.sha256(data).hexdigest()}"
        target = self._path(ref)
        with _translating_errors():
            self._make_folder(target.parent)
            try:
                _write_durably(target, data)
            except FileExistsError:  # its writer may have died before it was durable
                self.get(ref)
                private_files.sync(target)
            self._sync_folders(target)
        return ref

    def copy(self, ref: str, job_id: str) -> str:
        """Make a durable hard link to the file, or a copy where the file system has no links; return its reference.

        The file's age is reset first, so that no sweep takes the link for an orphan before its job has a row.

        Raises:
            BlobMissing, StorageDown: as `get`.
            StorageFull, StorageDown: as `put`.
        """
        data, source = self.get(ref), self._path(ref)
        tenant, _, digest = ref.split("/")
        copy_ref = f"{tenant}/{job_id}/{digest}"
        target = self._path(copy_ref)
        try:
            self._make_folder(target.parent)
            os.utime(source)
            target.hardlink_to(source)
        except OSError:
            return self.put(tenant, job_id, data, digest)
        with _translating_errors():
            self._sync_folders(target)
        return copy_ref

    def get(self, ref: str, *, is_last: bool = False) -> bytes:
        """Return the bytes, checked against the reference.

        Args:
            is_last: the blob is not likely to be read again soon, so the system need not cache it.

        Raises:
            BlobMissing: the file is absent from our folder, or not what was stored.
            StorageDown: the disk cannot be read, or the folder is not ours; that is no reason to give the film up.
        """
        try:
            data = _read(self._path(ref), is_last=is_last)
        except (FileNotFoundError, NotADirectoryError) as error:
            self.check()
            raise BlobMissing("The stored film is missing.", ref=ref) from error
        except OSError as error:
            raise StorageDown("The stored film cannot be read just now.", ref=ref, why=error.strerror) from error
        if hashlib.sha256(data).hexdigest() != ref.rsplit("/", 1)[1]:
            raise BlobMissing("The stored film is damaged: its checksum does not match.", ref=ref)
        return data

    def delete(self, ref: str) -> None:
        """Delete the blob and its job's empty folder.

        Raises:
            StorageDown: the blob could not be deleted now.
        """
        path = self._path(ref)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageDown("The film could not be removed.", ref=ref, why=error.strerror) from error
        with suppress(OSError):  # not empty, or already gone
            path.parent.rmdir()

    def older_than(self, moment: datetime) -> Iterator[str]:
        """Yield the references of blobs last written before `moment`; delete temporary files of that age on the way.

        Such files are of older builds, or of a process that was killed inside `try_to_change`.
        """
        for folder, _, names in os.walk(self.root):  # unlike glob, it tolerates folders that vanish meanwhile
            for path in (Path(folder, name) for name in names):
                if not _is_older(path, moment):
                    continue
                ref = path.relative_to(self.root).as_posix()
                if path.name.startswith(".tmp-"):
                    path.unlink(missing_ok=True)
                elif REFERENCE.fullmatch(ref):
                    yield ref

    def _make_folder(self, folder: Path) -> None:
        """Make a job's folder. Its tenant's is missing before the tenant's first film, or if no volume is mounted."""
        if not self._durable:
            self.check()
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError:
            self.check()
            folder.mkdir(parents=True, exist_ok=True)

    def _sync_folders(self, target: Path) -> None:
        """Make the names of the folders above a file durable; on ext4 the file's own sync has already written them.

        A job's folder is new with nearly each film. A tenant's is not, so its name and the root's are synced until
        that has succeeded once in this process. Where we may not read the root's parent, we did not make the root.
        """
        tenant = target.parent.parent
        for folder in (target.parent, tenant):
            private_files.sync(folder)
        if tenant not in self._durable:
            private_files.sync(self.root)
            with suppress(PermissionError):
                private_files.sync(self.root.parent)
            self._durable.add(tenant)

    def _path(self, ref: str) -> Path:
        if not REFERENCE.fullmatch(ref):
            raise BlobMissing("The stored film's reference is not valid.", ref=ref)
        return self.root / ref


@contextmanager
def _translating_errors() -> Iterator[None]:
    """Translate the disk's errors into StorageFull and StorageDown, with words for the sender."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            detail = "The service has no room for this film; tell its operator, and try again later."
            raise StorageFull(detail) from error
        raise StorageDown("The film could not be stored; try again shortly.", why=error.strerror) from error


def _is_older(path: Path, moment: datetime) -> bool:
    """Whether a file was last written before `moment`; False for one that has disappeared since it was listed."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC) < moment
    except FileNotFoundError:
        return False


def _read(path: Path, *, is_last: bool) -> bytes:
    """Read a whole file; after the last read its pages are released from the page cache for the next film.

    Otherwise each film takes new memory of the machine until none is free (DECISIONS 45).
    """
    with path.open("rb", buffering=0) as file:
        data = file.readall()
        if is_last:
            with suppress(AttributeError, OSError):  # advisory: not every system supports it
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return data


def _write_durably(target: Path, data: bytes) -> None:
    """Write a new file and sync it; where it does not fit, delete it and the job's folder."""
    with target.open("xb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            target.unlink(missing_ok=True)
            with suppress(OSError):  # the folder holds another film
                target.parent.rmdir()
            raise
    faults.reach(Fault.BLOB_WRITTEN)
