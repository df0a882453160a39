"""The checkpoint of a run on disk, from which an interrupted run resumes: stored features and `TrainingState`.

Each file is written under another name, flushed, and then renamed: a run killed at any moment leaves whole files.
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
from training.features import Stored
from training.state import TrainingState

COURSE_FILE: Final = "course.npz"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A `training.state.CheckpointStore` in a folder, which is made when something is first stored."""

    folder: Path

    def features(self, name: str, make: Callable[[], Stored]) -> Stored:
        """Return the features in `<name>.npy`; where there is no such file yet, make and store them."""
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
        """Return the wall time of the stored features and the finished epochs, in seconds."""
        features = [self._seconds_path(path.stem) for path in self.folder.glob("*.npy")]
        state = self.last()
        epochs = sum(epoch.seconds for epoch in state.history) if state else 0.0
        return epochs + sum(float(np.loadtxt(path)) for path in features if path.exists())

    def _seconds_path(self, name: str) -> Path:
        return self.folder / f"{name}.seconds"

    def last(self) -> TrainingState | None:
        """Return the state in `course.npz`; None where no epoch is finished."""
        path = self.folder / COURSE_FILE
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            return TrainingState(
                history=tuple(Epoch(**epoch) for epoch in facts["history"]),
                kept_epoch=facts["kept_epoch"],
                best_loss=facts["best_loss"],
                best_arrays=[arrays[f"best_{place}"] for place in range(facts["best_arrays"])],
                state=[arrays[f"state_{place}"] for place in range(facts["state"])],
                rng=facts["rng"],
            )

    def save(self, state: TrainingState) -> None:
        """Write the state to `course.npz`, in place of the previous one."""
        facts = {
            "history": [asdict(epoch) for epoch in state.history],
            "kept_epoch": state.kept_epoch,
            "best_loss": state.best_loss,
            "best_arrays": len(state.best_arrays),
            "state": len(state.state),
            "rng": state.rng,
        }
        arrays: dict[str, Any] = {  # Any: np.savez also takes keywords of its own
            "facts": np.array(json.dumps(facts)),
            **{f"best_{place}": array for place, array in enumerate(state.best_arrays)},
            **{f"state_{place}": array for place, array in enumerate(state.state)},
        }
        self._write(self.folder / COURSE_FILE, lambda part: np.savez(part, **arrays))

    def forget(self) -> None:
        """Delete the checkpoint."""
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
