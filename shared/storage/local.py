"""Blobs as files at <root>/<tenant>/<job id>/<sha256>: written once, then fsync of the file and of its folders.

An object store's local adapter made no fsync call when it was measured, hence this one. A blob's name belongs to one
job and is never shared, so a delete needs no reference count; the bytes behind the names of a film and its copies are
one file (hard links), which is never written to again. No job has a row before its film is durable, so a file needs no
other name while it is written: what a dead writer leaves is an orphan, half or whole.
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


def _nothing() -> None:
    """Any folder will do."""


@dataclass(frozen=True, slots=True)
class LocalBlobs:
    """A BlobStore over one folder.

    Args:
        check: raises StorageDown where `root` is not the folder of our database's films. Called where something is
            not there, and before the first film of this process: not for each one.
    """

    root: Path
    check: Callable[[], None] = field(default=_nothing, compare=False)
    _known: set[Path] = field(default_factory=set, compare=False, repr=False)
    """Folders of tenants whose names this process has seen made durable."""

    def try_to_change(self) -> None:
        """Look whose folder it is, and make and remove a file of our own.

        Raises:
            StorageDown: it is not ours, or the disk says no.
        """
        self.check()
        probe = self.root / f".tmp-{os.getpid()}"
        try:
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise StorageDown("The films' folder takes no changes.", errno=error.errno) from error

    def put(self, tenant: str, job_id: str, data: bytes, sha256: str | None = None) -> str:
        """Store durably; return the reference. `sha256` is of `data`, in hex, where the caller has worked it out.

        Raises:
            StorageFull: the disk is; nothing half-written stays.
            StorageDown: the disk is read-only, away or another database's; likewise.
            BlobMissing: it was stored before, and is damaged.
        """
        ref = f"{tenant}/{job_id}/{sha256 or hashlib.sha256(data).hexdigest()}"
        target = self._path(ref)
        with _telling_faults():
            self._make_folder(target.parent)
            try:
                _write_durably(target, data)
            except FileExistsError:  # whoever wrote it may have died before it was durable
                self.get(ref)
                private_files.sync(target)
            self._sync_folders(target)
        return ref

    def copy(self, ref: str, job_id: str) -> str:
        """Another name for the same file, durable; written again where the file system gives it none.

        Its age starts anew before it is there, lest a sweep takes it for an orphan before its job has a row.

        Raises:
            BlobMissing, StorageDown: as `get`.
            StorageFull, StorageDown: as `put`.
        """
        data, source = self.get(ref), self._path(ref)
        tenant, _, digest = ref.split("/")
        copied = f"{tenant}/{job_id}/{digest}"
        target = self._path(copied)
        try:
            self._make_folder(target.parent)
            os.utime(source)
            target.hardlink_to(source)
        except OSError:
            return self.put(tenant, job_id, data, digest)
        with _telling_faults():
            self._sync_folders(target)
        return copied

    def get(self, ref: str, *, is_last: bool = False) -> bytes:
        """Read back and check.

        Args:
            is_last: nobody is likely to read it again soon, so the system need not keep a copy in memory.

        Raises:
            BlobMissing: the file is absent from our folder, or not what was stored.
            StorageDown: it is there or not, but the disk does not say, or the folder is not ours; the film is not
                given up for that.
        """
        try:
            data = _read(self._path(ref), is_last=is_last)
        except (FileNotFoundError, NotADirectoryError) as error:
            self.check()
            raise BlobMissing("The stored film is missing.", ref=ref) from error
        except OSError as error:
            raise StorageDown("The stored film cannot be read just now.", ref=ref, errno=error.errno) from error
        if hashlib.sha256(data).hexdigest() != ref.rsplit("/", 1)[1]:
            raise BlobMissing("The stored film is damaged: its checksum does not match.", ref=ref)
        return data

    def delete(self, ref: str) -> None:
        """Remove the blob and its job's empty folder.

        Raises:
            StorageDown: it could not be removed now.
        """
        path = self._path(ref)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageDown("The film could not be removed.", ref=ref, errno=error.errno) from error
        with suppress(OSError):  # not empty, or already gone
            path.parent.rmdir()

    def older_than(self, moment: datetime) -> Iterator[str]:
        """References of blobs last written before `moment`; temporary files as old are removed on the way.

        Those of an older build, and what `try_to_change` of a process that was killed left.
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
        """A job's folder. Where its tenant's is not there, this is its first film, or a volume is not mounted."""
        if not self._known:
            self.check()
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError:
            self.check()
            folder.mkdir(parents=True, exist_ok=True)

    def _sync_folders(self, target: Path) -> None:
        """Make the names above a file durable: little is left to do after its own sync, which on ext4 has written them.

        A job's folder is new with nearly each film. A tenant's is not, so its name and the root's are synced until
        that has gone well once in this process. Where the root's folder is closed to us, somebody else made the root.
        """
        tenant = target.parent.parent
        for folder in (target.parent, tenant):
            private_files.sync(folder)
        if tenant not in self._known:
            private_files.sync(self.root)
            with suppress(PermissionError):
                private_files.sync(self.root.parent)
            self._known.add(tenant)

    def _path(self, ref: str) -> Path:
        if not REFERENCE.fullmatch(ref):
            raise BlobMissing("The stored film's reference is not valid.", ref=ref)
        return self.root / ref


@contextmanager
def _telling_faults() -> Iterator[None]:
    """What the disk says, in words for the sender."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            told = "The service has no room for this film; tell its operator, and try again later."
            raise StorageFull(told) from error
        raise StorageDown("The film could not be stored; try again shortly.", errno=error.errno) from error


def _is_older(path: Path, moment: datetime) -> bool:
    """False also for a file that a writer renamed or another sweeper removed since it was listed."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC) < moment
    except FileNotFoundError:
        return False


def _read(path: Path, *, is_last: bool) -> bytes:
    """All of a file; after the last time its pages are let go, and the next film is written into them.

    Else each film takes fresh memory of the machine until there is none left (DECISIONS 45).
    """
    with path.open("rb", buffering=0) as file:
        data = file.readall()
        if is_last:
            with suppress(AttributeError, OSError):  # advice: not every system takes it
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return data


def _write_durably(target: Path, data: bytes) -> None:
    """A new file and its bytes; where they do not fit nothing stays, the job's folder neither."""
    with target.open("xb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            target.unlink(missing_ok=True)
            with suppress(OSError):  # it holds another film
                target.parent.rmdir()
            raise
    faults.reach(Fault.BLOB_WRITTEN)
