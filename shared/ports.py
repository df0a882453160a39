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
        """Is the store there, and is it that of our database's films?

        Raises:
            StorageDown: it is not.
        """

    def try_to_change(self) -> None:
        """Is the store there and ours, and can blobs be removed just now? Asked before rows whose blobs go after them.

        Raises:
            StorageDown: it is not, or they cannot.
        """

    def put(self, tenant: str, job_id: str, data: bytes, sha256: str | None = None) -> str:
        """Store durably; return the reference.

        Args:
            tenant, job_id: whose it is.
            data: the bytes.
            sha256: of them, in hex, where the caller has worked it out.

        Raises:
            StorageFull: there is no room for them.
            StorageDown: the bytes could not be made durable, or the store is another database's.
            BlobMissing: these bytes were stored before, and are damaged.
        """

    def copy(self, ref: str, job_id: str) -> str:
        """The same bytes for another job of the same tenant, checked, and young again; return their reference.

        Raises:
            BlobMissing, StorageDown: as `get`.
            StorageFull: as `put`.
        """

    def get(self, ref: str, *, is_last: bool = False) -> bytes:
        """Read back, checked against the reference's SHA-256.

        Args:
            is_last: nobody is likely to read it again soon.

        Raises:
            BlobMissing: absent from the store that holds our films, or not the bytes that were stored.
            StorageDown: the store does not say, or is not ours; asking again may help.
        """

    def delete(self, ref: str) -> None:
        """Remove; nothing happens where it is already gone.

        Raises:
            StorageDown: it could not be removed now.
        """

    def older_than(self, moment: datetime) -> Iterator[str]:
        """References of blobs last written before `moment`."""


class Queue(Protocol):
    """The doorbell: rings after commit, best effort; a lost or doubled ring does no harm.

    Workers note when they are idle and when they are busy, since a ring for a busy one wakes nobody. That is advice:
    a worker polls, too.
    """

    def classify(self, job_id: str, priority: Priority) -> bool:
        """Ring for one film unless all workers are busy; False where the broker could not be reached."""

    def explain(self, explanation_id: str) -> bool:
        """Ring for one explanation; likewise, whoever is busy."""

    def note_idle(self, worker: str, classes: Sequence[Priority]) -> bool:
        """The worker waits for films of these classes; it looks once more after this. False as above."""

    def note_busy(self, worker: str) -> bool:
        """The worker needs no ring until it is idle."""

    def forget(self, worker: str) -> bool:
        """The worker has ended."""

    def backlog(self, queues: Sequence[str] = ...) -> int | None:
        """How many rings wait in these queues, by default those for films; None where the broker does not say."""

    def is_up(self) -> bool:
        """True where the broker answers."""

    def close(self) -> None:
        """Let go of the broker; idempotent."""


class Notifier(Protocol):
    """Hints that jobs have changed: after commit, best effort; SQL says what became of them."""

    def publish(self, job_ids: Sequence[str]) -> bool:
        """Tell every web process; False where the broker could not be reached or nothing is to be told."""

    def listen(self) -> Iterator[Sequence[str]]:
        """Ids as others publish them, and an empty hint at least each second; never raises, ends after `close`."""

    def close(self) -> None:
        """Let go of the broker and end who listens; idempotent."""


class Decoder(Protocol):
    """The only reader of uploaded bytes."""

    def start(self) -> None:
        """Make ready before the first film comes; raises nothing."""

    def decode(self, data: bytes, tenant: str | None = None, sha256: str | None = None) -> Film:
        """Bytes to film; films of one tenant may be read by one process after each other, others never.

        Args:
            data: the upload.
            tenant: whose it is.
            sha256: of the upload, in hex, where the caller has worked it out.

        Raises:
            RefusedUpload: one of its children says why.
            DecoderBusy: all decoders are taken and the line is full.
        """

    def close(self) -> None:
        """End the decoder; idempotent."""


class IdSource(Protocol):
    """Where ids come from, of jobs and of all else that has one."""

    def __call__(self) -> str:
        """A new UUID version 7 as text: ids sort by the time they were made."""
