"""A run's memory on disk, so that one that was cut off goes on: stored features, and the course of its epochs.

Each file is written beside its place, flushed, and then moved there: a run killed at any moment finds whole files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.model_report import Epoch
from shared.private_files import sync
from training.course import Course
from training.features import Stored

COURSE_FILE: Final = "course.npz"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A `training.fit.Keep` in a folder, which is made when something is first kept."""

    folder: Path

    def features(self, name: str, make: Callable[[], Stored]) -> Stored:
        """Those of `<name>.npy`, made and kept where there are none yet."""
        path = self.folder / f"{name}.npy"
        if path.exists():
            return np.load(path, allow_pickle=False)
        started = time.monotonic()
        stored = make()
        seconds = time.monotonic() - started
        self._write(self._seconds_path(name), lambda part: np.savetxt(part, [seconds]))
        self._write(path, lambda part: np.save(part, stored, allow_pickle=False))
        return stored

    def seconds(self) -> float:
        """What the stored features and the finished epochs took, in seconds."""
        features = [self._seconds_path(path.stem) for path in self.folder.glob("*.npy")]
        course = self.last()
        epochs = sum(epoch.seconds for epoch in course.history) if course else 0.0
        return epochs + sum(float(np.loadtxt(path)) for path in features if path.exists())

    def _seconds_path(self, name: str) -> Path:
        return self.folder / f"{name}.seconds"

    def last(self) -> Course | None:
        """The course of `course.npz`; None where no epoch is finished."""
        path = self.folder / COURSE_FILE
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            return Course(
                history=tuple(Epoch(**epoch) for epoch in facts["history"]),
                kept_epoch=facts["kept_epoch"],
                best_loss=facts["best_loss"],
                best_arrays=[arrays[f"best_{place}"] for place in range(facts["best_arrays"])],
                state=[arrays[f"state_{place}"] for place in range(facts["state"])],
                rng=facts["rng"],
            )

    def save(self, course: Course) -> None:
        """Keep the course as `course.npz`, instead of the one before."""
        facts = {
            "history": [asdict(epoch) for epoch in course.history],
            "kept_epoch": course.kept_epoch,
            "best_loss": course.best_loss,
            "best_arrays": len(course.best_arrays),
            "state": len(course.state),
            "rng": course.rng,
        }
        arrays: dict[str, Any] = {  # Any: numpy's own keywords stand among the names
            "facts": np.array(json.dumps(facts)),
            **{f"best_{place}": array for place, array in enumerate(course.best_arrays)},
            **{f"state_{place}": array for place, array in enumerate(course.state)},
        }
        self._write(self.folder / COURSE_FILE, lambda part: np.savez(part, **arrays))

    def forget(self) -> None:
        """Remove all that was kept."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()

    def _write(self, path: Path, write: Callable[[Path], None]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{path.name}")  # the ending stays: numpy appends a missing one
        write(part)
        sync(part)
        part.replace(path)
