"""Every effect as a Protocol: read this first. `wiring.py` picks the real ones, `tests/fakes.py` the fakes.

The SQL database is not a port: it is the truth, and tests use a real one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from shared.domain import Film, Priority


class BlobStore(Protocol):
    """Stored bytes by reference `<tenant>/<job id>/<sha256>`; durable once `put` returns."""

    def check(self) -> None:
        """Check that the store is there and is the one of this database's films.

        Raises:
            StorageDown: it is not.
        """

    def try_to_change(self) -> None:
        """Check also that blobs can be deleted now; called before rows are deleted whose blobs are deleted after them.

        Raises:
            StorageDown: the store is not there or not ours, or blobs cannot be deleted.
        """

    def put(self, tenant: str, job_id: str, data: bytes, sha256: str | None = None) -> str:
        """Store durably; return the reference.

        Args:
            tenant, job_id: the blob's owner.
            data: the bytes.
            sha256: of `data`, in hex, where the caller has computed it.

        Raises:
            StorageFull: there is no room for the bytes.
            StorageDown: the bytes could not be made durable, or the store is another database's.
            BlobMissing: these bytes were stored before, and are damaged.
        """

    def copy(self, ref: str, job_id: str) -> str:
        """Store the same bytes for another job of the same tenant, checked, with a new age; return their reference.

        Raises:
            BlobMissing, StorageDown: as `get`.
            StorageFull: as `put`.
        """

    def get(self, ref: str, *, is_last: bool = False) -> bytes:
        """Return the bytes, checked against the reference's SHA-256.

        Args:
            is_last: the blob is not likely to be read again soon.

        Raises:
            BlobMissing: absent from the store that holds our films, or not the bytes that were stored.
            StorageDown: the store cannot be read, or is not ours; a retry may help.
        """

    def delete(self, ref: str) -> None:
        """Delete a blob; a blob that is already gone is no error.

        Raises:
            StorageDown: it could not be deleted now.
        """

    def older_than(self, moment: datetime) -> Iterator[str]:
        """Yield the references of blobs last written before `moment`."""


class Queue(Protocol):
    """The doorbell: rings after commit, best effort; a lost or doubled ring does no harm.

    Workers note when they are idle and when they are busy, since a ring to busy workers wakes none. The notes are
    advisory: workers also poll.
    """

    def classify(self, job_id: str, priority: Priority) -> bool:
        """Ring for one film unless all workers are busy; False where the broker could not be reached."""

    def explain(self, explanation_id: str) -> bool:
        """Ring for one explanation, even if all workers are busy; False where the broker could not be reached."""

    def note_idle(self, worker: str, priorities: Sequence[Priority]) -> bool:
        """Note that a worker is about to poll once more and then wait for films of these priorities. False as above."""

    def note_busy(self, worker: str) -> bool:
        """Note that a worker needs no ring until it is idle."""

    def forget(self, worker: str) -> bool:
        """Delete the note of a worker that has ended."""

    def backlog(self, queues: Sequence[str] = ...) -> int | None:
        """Count the rings in these queues, by default those for films; None where the broker does not answer."""

    def is_up(self) -> bool:
        """True where the broker answers."""

    def close(self) -> None:
        """Close the connections to the broker; idempotent."""


class Notifier(Protocol):
    """Hints that jobs have changed: after commit, best effort; the jobs' states are in SQL."""

    def publish(self, job_ids: Sequence[str]) -> bool:
        """Notify every web process; False where the broker could not be reached or there are no ids."""

    def listen(self) -> Iterator[Sequence[str]]:
        """Yield ids as they are published, and an empty hint at least each second; never raise, end after `close`."""

    def close(self) -> None:
        """Close the connections to the broker and let listeners end; idempotent."""


class Decoder(Protocol):
    """The only reader of uploaded bytes."""

    def start(self) -> None:
        """Get ready before the first film arrives; raises nothing."""

    def decode(self, data: bytes, tenant: str | None = None, sha256: str | None = None) -> Film:
        """Decode an upload; one process may decode several films of one tenant, but never films of two tenants.

        Args:
            data: the upload.
            tenant: the upload's owner.
            sha256: of the upload, in hex, where the caller has computed it.

        Raises:
            RefusedUpload: a subclass names the reason.
            DecoderBusy: all decoders are busy and the waiting line is full.
        """

    def close(self) -> None:
        """End the decoder; idempotent."""


class IdSource(Protocol):
    """The source of all ids, of jobs and of everything else."""

    def __call__(self) -> str:
        """Return a new UUID version 7 as text: ids sort by the time they were made."""
