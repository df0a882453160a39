"""The features of all films of a cross-validation, computed once and shared by all turns.

A folder holds `features.npy` (float16, read back as a memory map) and `features.sha256`, the digest of all that the
features depend on: films, augmented copies, preprocessing and the arrays of the frozen rows. Called by `turns.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from shared.arrays import FloatArray
from training.dataset import Example, film_sha256, read_film
from training.features import Forms, Progress, Stored, store_features
from training.fit import StoredData, start_network
from training.network import Network
from training.new_folder import write_whole
from training.recipe import Recipe
from training.splits import TrainingData

FEATURES_FILE: Final = "features.npy"
DIGEST_FILE: Final = "features.sha256"

Pretrained = Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """Stored forms of films, and the frozen rows that they were computed with.

    Attributes:
        stored: (N, F, *feature shape) float16.
        places: film to its index in `stored`.
        frozen: arrays of the frozen rows, by the table's names.
    """

    stored: Stored
    places: Mapping[Path, int]
    frozen: Mapping[str, FloatArray]

    def take(self, data: TrainingData, recipe: Recipe) -> StoredData:
        """Return the features of a turn's films in memory, with as many copies of each as the recipe asks for."""
        train = self._take(data.train, recipe.copies)
        return StoredData(data, train, self._take(data.validation, recipe.calibration_copies))

    def _take(self, films: Sequence[Example], copies: int) -> Stored:
        rows = np.array([self.places[film.path] for film in films], np.int64)
        return np.ascontiguousarray(self.stored[rows, : 1 + copies])


def open_feature_store(
    films: Sequence[Example], recipe: Recipe, folder: Path, pretrained: Pretrained, progress: Progress
) -> FeatureStore:
    """Return the features in `folder`; compute them first where it has none, or has those of other films or knobs.

    Args:
        films: each film once.
        recipe: one whose frozen rows, preprocessing and copies hold for all turns.
        pretrained: initial arrays, by the table's names.
    """
    network = start_network(recipe, len(films), pretrained)
    frozen = _frozen_arrays(network)
    digest = _features_digest(recipe, films, frozen)
    copies = max(recipe.copies, recipe.calibration_copies)
    if not _is_stored(folder, digest):
        (folder / DIGEST_FILE).unlink(missing_ok=True)
        forms = Forms(recipe, network.architecture.input_shape, read_film)
        part = folder / f"{FEATURES_FILE}.part"
        allocate = partial(np.lib.format.open_memmap, part, "w+", np.float16)
        store_features(films, forms, network.trunk, progress, copies=copies, allocate=allocate)
        part.replace(folder / FEATURES_FILE)
        write_whole(folder / DIGEST_FILE, digest)
    flat = np.load(folder / FEATURES_FILE, mmap_mode="r", allow_pickle=False)
    stored = flat.reshape(len(films), 1 + copies, *flat.shape[1:])
    return FeatureStore(stored, {film.path: place for place, film in enumerate(films)}, frozen)


def film_identity(film: Example) -> tuple[str, str]:
    """Return the film's name and the digest of its bytes: another hospital's films may have the same names."""
    return short_name(film), film_sha256(film.path)


def short_name(film: Example) -> str:
    """Return the film's file and its folder, which do not depend on where the data folder lies."""
    return "/".join(film.path.parts[-2:])


def digest_json(value: object) -> str:
    """Return the SHA-256 of a value as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _is_stored(folder: Path, digest: str) -> bool:
    path = folder / DIGEST_FILE
    return (folder / FEATURES_FILE).exists() and path.exists() and path.read_text(encoding="utf-8") == digest


def _features_digest(recipe: Recipe, films: Sequence[Example], frozen: Mapping[str, FloatArray]) -> str:
    knobs = json.loads(recipe.to_json())
    values = [knobs[name] for name in ("architecture", "preprocessing", "frozen_until", "augmentation", "seed")]
    arrays = [[name, hashlib.sha256(frozen[name].tobytes()).hexdigest()] for name in sorted(frozen)]
    identities = [film_identity(film) for film in films]
    return digest_json([values, recipe.copies, recipe.calibration_copies, identities, arrays])


def _frozen_arrays(network: Network) -> dict[str, FloatArray]:
    names = {layer.name for layer in network.frozen.layers} if network.frozen is not None else set()
    return {name: array for name, array in network.arrays().items() if name.rpartition(".")[0] in names}
