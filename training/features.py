"""Stored features: the output of the frozen trunk for each form of each film, as float16, to train on.

The forms of a film are the unchanged film (form 0) and its augmented copies. A frozen trunk has the same output in
every epoch, so it runs once for each form, and an epoch costs only the trained part. Without a frozen trunk the stored
features are the network inputs themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray, Pixels
from shared.imaging.preprocess import preprocess, stack
from training.augment import augment
from training.dataset import Example, ReadFilm
from training.recipe import Recipe

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""

Trunk = Callable[[FloatArray], npt.NDArray[np.floating]]
Stored = npt.NDArray[np.float16]

Allocate = Callable[[tuple[int, ...]], Stored]
"""Allocate an array of that shape for features, in memory or in a file; its initial values do not matter."""

CHUNK: Final = 32
"""Films a trunk call; on a CPU more gains nothing."""


@dataclass(frozen=True, slots=True)
class Forms:
    """Makes the network inputs of a film: of the unchanged film, then of its augmented copies."""

    recipe: Recipe
    input_shape: tuple[int, int, int]
    read: ReadFilm

    def inputs(self, examples: Sequence[Example], copies: int) -> Iterator[FloatArray]:
        """Yield inputs (H, W, 1) float32 in [0, 1]: film 0 unchanged, its copies, film 1, ..."""
        rng = np.random.default_rng((self.recipe.seed, len(examples)))
        for example in examples:
            pixels = self.read(example.path)
            yield self.preprocess(pixels)
            for _ in range(copies):
                yield self.preprocess(augment(pixels, self.recipe.augmentation, rng))

    def preprocess(self, pixels: Pixels) -> FloatArray:
        """Return the network input of one film, by the preprocessing that the recipe names."""
        return preprocess(pixels, self.recipe.preprocessing, self.input_shape)


def in_memory(shape: tuple[int, ...]) -> Stored:
    """Allocate features in memory: the usual `Allocate`."""
    return np.empty(shape, np.float16)


def store_features(  # noqa: PLR0913 - the last has a default that nearly all take
    examples: Sequence[Example],
    forms: Forms,
    trunk: Trunk,
    progress: Progress,
    *,
    copies: int,
    allocate: Allocate = in_memory,
) -> Stored:
    """Return the features of each unchanged film (form 0) and of `copies` augmented copies of it.

    Returns:
        (N, 1 + copies, *feature shape) float16; N >= 1.
    """
    total = len(examples) * (1 + copies)
    blank = np.zeros(forms.input_shape, np.float32)  # shows the shape of the features
    stored = allocate((total, *trunk(stack([blank])).shape[1:]))
    done = 0
    for chunk in _chunks(forms.inputs(examples, copies)):
        stored[done : done + len(chunk)] = trunk(stack(chunk))
        done += len(chunk)
        progress("films through the frozen layers", done, total)
    return stored.reshape(len(examples), 1 + copies, *stored.shape[1:])


def _chunks(inputs: Iterator[FloatArray]) -> Iterator[list[FloatArray]]:
    chunk: list[FloatArray] = []
    for item in inputs:
        chunk.append(item)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def draw_weights(
    examples: Sequence[Example], balance: str, shares: Mapping[str, float] | None = None
) -> npt.NDArray[np.float64]:
    """Return the probability of each film at each draw.

    Equally probable are, by `balance`: films ('none'); labels ('label'); labels, and within each label its pools
    ('pool'). With 'shares' a pool's probability is in proportion to its entry in `shares`, 1 where not named.

    Returns:
        (N,) that sums to 1.
    """
    if balance == "none":
        return np.full(len(examples), 1 / len(examples))
    if balance == "shares":
        counts = Counter(example.pool for example in examples)
        weights = np.array([(shares or {}).get(example.pool, 1.0) / counts[example.pool] for example in examples])
        return weights / weights.sum()
    cells = [(example.label, example.pool if balance == "pool" else "") for example in examples]
    sizes = Counter(cells)
    pools_of = Counter(label for label, _ in sizes)
    raw = np.array([1 / (sizes[label, pool] * pools_of[label]) for label, pool in cells])
    return raw / raw.sum()
