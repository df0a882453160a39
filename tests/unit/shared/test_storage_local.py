"""What the disk adds to the blob port: durable order, nothing half-written, no way out of the root."""

from __future__ import annotations

import errno
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.errors import BlobMissing, StorageDown, StorageFull
from shared.storage.local import LocalBlobs
from shared.wiring import new_job_id

JOB = "01997000-0000-7000-8000-000000000000"


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    """A store in a folder that does not exist yet."""
    return LocalBlobs(tmp_path / "films")


def files(blobs: LocalBlobs) -> list[str]:
    """Every file below the root, temporary ones included."""
    return sorted(path.relative_to(blobs.root).as_posix() for path in blobs.root.rglob("*") if path.is_file())


def test_a_blob_lies_at_its_reference(blobs: LocalBlobs) -> None:
    """<tenant>/<job id>/<sha256>, and nothing beside it."""
    ref = blobs.put("default", JOB, b"film")
    assert ref == f"default/{JOB}/{hashlib.sha256(b'film').hexdigest()}"
    assert files(blobs) == [ref]


def test_file_and_folders_are_synced_before_the_answer(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file first, then every folder that has a new name in it, the nearest first."""
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    blobs.put("default", JOB, b"film")
    name = hashlib.sha256(b"film").hexdigest()
    assert synced == [name, JOB, "default", "films", blobs.root.parent.name]
    synced.clear()
    other = new_job_id()
    blobs.put("default", other, b"film")
    assert synced == [name, other, "default"]


def test_a_film_that_was_written_but_not_made_durable_is_made_so(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder's sync fails once, of a new film and of a copy: told, and done by the next one of the same name."""
    ref, other = blobs.put("default", JOB, b"film"), new_job_id()
    synced: list[str] = []

    def record(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir() and "failed" not in synced:
            synced.append("failed")
            raise OSError(errno.EIO, "Input/output error")
        synced.append(path.name)

    monkeypatch.setattr(os, "fsync", record)
    for store in (lambda: blobs.copy(ref, other), lambda: blobs.put("default", other, b"film")):
        synced.clear()
        with pytest.raises(StorageDown) as caught:
            store()
        assert caught.value.facts["why"] == "Input/output error"  # for the log, where a number says nothing
    blobs.put("default", other, b"film")
    assert synced[-3:] == [hashlib.sha256(b"film").hexdigest(), other, "default"]


def test_a_root_in_a_folder_that_is_closed_to_us_takes_films(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator made it there: its own name is not ours to sync; what lies in it is."""
    opened, synced = os.open, list[str]()

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if Path(path) == blobs.root.parent:
            raise PermissionError(errno.EACCES, "Permission denied")
        synced.append(Path(path).name)
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    assert blobs.get(blobs.put("default", JOB, b"film")) == b"film"
    assert synced == [JOB, "default", "films"]


def test_a_tenants_folder_is_made_durable_though_its_first_film_failed(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is there already when the second film comes; nothing of the first stays."""
    fsync, synced = os.fsync, list[str]()

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        if len(synced) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with pytest.raises(StorageFull):
        blobs.put("default", JOB, b"film")
    assert [path.name for path in blobs.root.rglob("*")] == ["default"]
    blobs.put("default", new_job_id(), b"film")
    assert synced[-3:] == ["default", "films", blobs.root.parent.name]


@pytest.mark.parametrize(
    "ref",
    [
        "../../etc/passwd",
        f"default/{JOB}/../../../etc/passwd",
        f"/default/{JOB}/{'a' * 64}",
        f"default/{JOB}/{'A' * 64}",
        f"default/{JOB}/{'a' * 64}\n",
        f"a/b/{JOB}/{'a' * 64}",
        f"default/{JOB}/.tmp-1",
        "",
    ],
)
def test_no_reference_leads_elsewhere(blobs: LocalBlobs, ref: str) -> None:
    """Only the exact form is looked up, read or deleted."""
    for call in (blobs.get, blobs.delete):
        with pytest.raises(BlobMissing):
            call(ref)


def test_a_changed_file_is_damaged(blobs: LocalBlobs) -> None:
    """One flipped byte is told, not served."""
    ref = blobs.put("default", JOB, b"film")
    (blobs.root / ref).write_bytes(b"fiLm")
    with pytest.raises(BlobMissing, match="damaged"):
        blobs.get(ref)


def test_a_file_that_cannot_be_read_is_not_given_up(blobs: LocalBlobs) -> None:
    """An I/O error is the store's, to be tried again; only an absent file is missing."""
    ref = blobs.put("default", JOB, b"film")
    (blobs.root / ref).unlink()
    (blobs.root / ref).mkdir()  # reading a folder fails for root too
    with pytest.raises(StorageDown):
        blobs.get(ref)


@pytest.mark.parametrize("is_link", [True, False], ids=["a disk that is not mounted", "a file in its place"])
def test_a_full_or_missing_disk_is_told_and_leaves_nothing(tmp_path: Path, is_link: bool) -> None:  # noqa: FBT001
    """The root cannot be made: 503 for the caller, with the reason for the log."""
    if is_link:
        (tmp_path / "films").symlink_to(tmp_path / "gone")
    else:
        (tmp_path / "films").write_text("in the way")
    with pytest.raises(StorageDown) as caught:
        LocalBlobs(tmp_path / "films").put("default", JOB, b"film")
    assert caught.value.retryable
    assert str(tmp_path) not in str(caught.value)


def test_a_failed_write_leaves_no_half_file(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills at the sync of the file: neither the blob nor its temporary file stays."""
    blobs.put("default", JOB, b"other")
    before = files(blobs)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        blobs.put("default", JOB, b"film")
    assert files(blobs) == before


def test_a_copy_is_a_second_name_made_durable(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte is written again: what is synced is the folders that hold the new names."""
    ref, other = blobs.put("default", JOB, b"film"), new_job_id()
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink().name))
    copied = blobs.copy(ref, other)
    assert (blobs.root / copied).samefile(blobs.root / ref)
    assert synced == [other, "default"]


def test_a_damaged_film_is_not_copied(blobs: LocalBlobs) -> None:
    """It would answer for another job."""
    ref = blobs.put("default", JOB, b"film")
    (blobs.root / ref).write_bytes(b"fiLm")
    with pytest.raises(BlobMissing, match="damaged"):
        blobs.copy(ref, new_job_id())
    assert files(blobs) == [ref]


def test_where_a_file_has_one_name_a_copy_is_written(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have no hard links, and some files have all that they may."""
    ref = blobs.put("default", JOB, b"film")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", refuse)
    copied = blobs.copy(ref, new_job_id())
    assert blobs.get(copied) == b"film"
    assert not (blobs.root / copied).samefile(blobs.root / ref)


def test_a_full_disk_is_told_of_a_copy_too(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for its folder: 507, and nothing half-made is named."""
    ref = blobs.put("default", JOB, b"film")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(StorageFull):
        blobs.copy(ref, new_job_id())
    assert files(blobs) == [ref]


def test_deleting_the_last_blob_removes_its_folder(blobs: LocalBlobs) -> None:
    """A job's folder goes with its last film, the tenant's stays."""
    first, second = blobs.put("default", JOB, b"1"), blobs.put("default", JOB, b"2")
    blobs.delete(first)
    assert blobs.get(second) == b"2"
    blobs.delete(second)
    blobs.delete(second)
    assert [path.name for path in blobs.root.rglob("*")] == ["default"]


def test_the_sweep_finds_old_blobs_and_clears_dead_writers(blobs: LocalBlobs) -> None:
    """Old blobs are named, young ones and a writer at work are left alone, an old temporary file is removed."""
    old, young = blobs.put("default", new_job_id(), b"old"), blobs.put("default", new_job_id(), b"young")
    dead, living = (blobs.root / young).parent / ".tmp-dead", (blobs.root / young).parent / ".tmp-living"
    dead.touch()
    living.touch()
    long_ago = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    for path in (blobs.root / old, dead):
        os.utime(path, (long_ago, long_ago))
    assert list(blobs.older_than(datetime.now(UTC) - timedelta(hours=1))) == [old]
    assert living.exists()
    assert not dead.exists()


def test_the_sweep_bears_with_files_that_vanish(blobs: LocalBlobs) -> None:
    """Another sweeper deletes while this one looks: no error, and the rest is still found."""
    refs = sorted(blobs.put("default", new_job_id(), bytes([n])) for n in range(20))
    later = datetime.now(UTC) + timedelta(hours=1)
    found = blobs.older_than(later)
    seen = [next(found)]
    for ref in refs:
        if ref not in seen:
            blobs.delete(ref)
    seen += found
    assert set(seen) <= set(refs)


def test_an_empty_store_has_nothing_old(blobs: LocalBlobs) -> None:
    """Before the first film there is no root."""
    assert list(blobs.older_than(datetime.now(UTC))) == []


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="only Linux says what it holds in memory")
@pytest.mark.parametrize("is_last", [True, False])
def test_a_film_that_is_read_for_the_last_time_leaves_memory(blobs: LocalBlobs, is_last: bool) -> None:  # noqa: FBT001
    """Its pages serve the next film; any other reader's film stays, for the next look."""
    ref = blobs.put("default", JOB, b"film" * 4096)
    assert blobs.get(ref, is_last=is_last) == b"film" * 4096
    assert is_in_memory(blobs.root / ref) is not is_last
    assert blobs.get(ref) == b"film" * 4096


def is_in_memory(path: Path) -> bool:
    """Whether a read would find the file's first bytes without the disk; skips where this file system cannot tell."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return bool(os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT))
    except BlockingIOError:
        return False
    except OSError as error:
        pytest.skip(f"this file system cannot tell: {error.strerror}")
    finally:
        os.close(descriptor)


def test_a_folder_that_is_not_ours_or_takes_no_changes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before rows are deleted whose films could not be; where it does, nothing is left of the try."""
    LocalBlobs(tmp_path).try_to_change()
    assert list(tmp_path.iterdir()) == []

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(30, "Read-only file system")

    def not_ours() -> None:
        raise StorageDown("The films in PLAINFILM_HOME are those of another database.")

    with pytest.raises(StorageDown, match="another database"):
        LocalBlobs(tmp_path, not_ours).try_to_change()
    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(StorageDown, match="takes no changes"):
        LocalBlobs(tmp_path).try_to_change()
