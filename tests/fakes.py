"""Fakes of the ports: each passes the contract tests that the real one passes. No mocks anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue

import numpy as np
from sqlalchemy.orm import Session

from shared.arrays import FloatArray
from shared.domain import EXPLAIN_QUEUE, Film, Priority
from shared.errors import BlobMissing, StorageDown, WrongShape
from shared.imaging.decode import make_film, read_pixels
from shared.manifest import ModelManifest, Thresholds
from worker.engine.base import Inference


@dataclass(slots=True)
class MemoryBlobs:
    """A BlobStore in a dict."""

    data: dict[str, bytes] = field(default_factory=dict)
    written_at: dict[str, datetime] = field(default_factory=dict)
    away: bool = False

    def check(self) -> None:
        """There, unless told to be away."""
        if self.away:
            raise StorageDown("The films of this database are not here.")

    def try_to_change(self) -> None:
        """As `check` says."""
        self.check()

    def put(self, tenant: str, job_id: str, data: bytes, sha256: str | None = None) -> str:
        """Keep the bytes."""
        ref = f"{tenant}/{job_id}/{sha256 or hashlib.sha256(data).hexdigest()}"
        self.data[ref], self.written_at[ref] = data, datetime.now(UTC)
        return ref

    def copy(self, ref: str, job_id: str) -> str:
        """Keep them once more."""
        copied = self.put(ref.split("/", 1)[0], job_id, self.get(ref))
        self.written_at[ref] = self.written_at[copied]
        return copied

    def get(self, ref: str, *, is_last: bool = False) -> bytes:  # noqa: ARG002  the port's
        """Give them back, checked."""
        self.check()
        found = self.data.get(ref)
        if found is None or hashlib.sha256(found).hexdigest() != ref.rsplit("/", 1)[1]:
            raise BlobMissing("The stored film is missing.", ref=ref)
        return found

    def delete(self, ref: str) -> None:
        """Forget them."""
        self.data.pop(ref, None)

    def older_than(self, moment: datetime) -> Iterator[str]:
        """References written before `moment`."""
        return (ref for ref in list(self.data) if self.written_at[ref] < moment)


@dataclass(slots=True)
class RecordingQueue:
    """A Queue that remembers its rings; `down` makes it unreachable."""

    rings: list[tuple[str, Priority]] = field(default_factory=list)
    down: bool = False
    explained: list[str] = field(default_factory=list)
    waiting: int | None = None
    noted: dict[str, tuple[Priority, ...]] = field(default_factory=dict)

    def classify(self, job_id: str, priority: Priority) -> bool:
        """Remember the ring, unless all workers are busy."""
        if not self.down and (not self.noted or any(priority in classes for classes in self.noted.values())):
            self.rings.append((job_id, priority))
        return not self.down

    def note_idle(self, worker: str, classes: Sequence[Priority]) -> bool:
        """Remember it."""
        if not self.down:
            self.noted[worker] = tuple(classes)
        return not self.down

    def note_busy(self, worker: str) -> bool:
        """Likewise."""
        return self.note_idle(worker, ())

    def forget(self, worker: str) -> bool:
        """Forget it."""
        if not self.down:
            self.noted.pop(worker, None)
        return not self.down

    def explain(self, explanation_id: str) -> bool:
        """Remember the ring for an explanation."""
        if not self.down:
            self.explained.append(explanation_id)
        return not self.down

    def backlog(self, queues: Sequence[str] = tuple(Priority)) -> int | None:
        """Nobody takes a ring from it, so as many as were rung, unless told otherwise of those for films."""
        if self.down:
            return None
        if EXPLAIN_QUEUE in queues:
            return len(self.explained)
        rung = sum(priority in queues for _, priority in self.rings)
        return rung if self.waiting is None else self.waiting

    def is_up(self) -> bool:
        """As told."""
        return not self.down

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass(slots=True)
class LocalNotifier:
    """A Notifier within one process; `down` loses every hint."""

    published: list[tuple[str, ...]] = field(default_factory=list)
    down: bool = False
    heard: list[SimpleQueue[tuple[str, ...]]] = field(default_factory=list)
    closed: bool = False

    def publish(self, job_ids: Sequence[str]) -> bool:
        """Hand it to all who listen."""
        if self.down or not job_ids:
            return False
        self.published.append(tuple(job_ids))
        for each in self.heard:
            each.put(tuple(job_ids))
        return True

    def listen(self) -> Iterator[Sequence[str]]:
        """What is published from now on."""
        mine: SimpleQueue[tuple[str, ...]] = SimpleQueue()
        self.heard.append(mine)
        while not self.closed:
            try:
                yield mine.get(timeout=0.05)
            except Empty:
                yield ()

    def close(self) -> None:
        """End who listens."""
        self.closed = True


class PlainDecoder:
    """A Decoder without its sandbox."""

    def start(self) -> None:
        """Nothing to make ready."""

    def decode(self, data: bytes, tenant: str | None = None, sha256: str | None = None) -> Film:
        """Decode in this process."""
        del tenant
        return make_film(read_pixels(data), sha256 or hashlib.sha256(data).hexdigest())

    def close(self) -> None:
        """Nothing to end."""


@dataclass(slots=True)
class FixedClock:
    """A database clock that moves only when told."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self, _session: Session) -> datetime:
        """The time it was set to."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += timedelta(seconds=seconds)


LABELS = ("covid19", "normal", "viral_pneumonia")


def make_manifest() -> ModelManifest:
    """A manifest of a tiny model."""
    return ModelManifest(
        name="fake",
        version="1",
        architecture="fake",
        labels=LABELS,
        input_shape=(16, 16, 1),
        preprocessing="grey_window_v1",
        target_layer="last",
        temperature=1.0,
        thresholds=Thresholds(min_probability=0.5, min_spread=0.01, set_quantiles=dict.fromkeys(LABELS, 0.6)),
        weights_sha256="f" * 64,
        parameters=0,
        recipe="fake",
        trained_at="2026-01-01",
        trained_on={},
        metrics={},
    )


@dataclass(slots=True)
class FakeEngine:
    """An Engine whose answer is read off the film: the brighter its top half, the more COVID-19.

    Attributes:
        fails_on: a film with this mean (of its input, rounded to 2 digits) makes the whole batch fail.
        batches: sizes of the batches it was given.
    """

    manifest: ModelManifest = field(default_factory=make_manifest)
    device: str = "fake/1"
    fails_on: float | None = None
    batches: list[int] = field(default_factory=list)

    def infer(self, x: FloatArray) -> Inference:
        """Probabilities from the mean of the top half; the map is the input, coarse."""
        if x.shape[1:] != self.manifest.input_shape:
            raise WrongShape("The input does not have the model's shape.")
        self.batches.append(len(x))
        if self.fails_on is not None and any(round(float(film.mean()), 2) == self.fails_on for film in x):
            raise RuntimeError("the network broke on a film")
        top = x[:, :8].mean(axis=(1, 2, 3))
        first = 0.05 + 0.9 * top
        probabilities = np.stack([first, (1 - first) * 0.9, (1 - first) * 0.1], axis=1).astype(np.float32)
        saliency = x[:, ::4, ::4, 0] / np.maximum(x[:, ::4, ::4, 0].max(axis=(1, 2), keepdims=True), 1e-6)
        nothing = np.zeros(len(x), np.float32)
        return Inference(probabilities, nothing, nothing, nothing, saliency.astype(np.float32))
