"""Sample films for the demo and the tests: weighted blends of several films of one class, none of a single person.

A blend takes a film and the films of other groups that are most similar to it, so that ribs and hearts roughly coincide
and the result still looks like a film; none weighs more than `MOST`, and no two are nearly the same. The first blend
with the verdict of its class is kept, else the one with the highest probability of the class: samples show how the
service looks, and measure nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from shared.arrays import FloatArray
from shared.domain import Assessment, Verdict
from shared.errors import DataProblem
from shared.imaging.preprocess import squash, window
from shared.verdict import assess
from training.dataset import Example, read_film
from worker.engine.base import Engine, look

FILMS: Final = 6
MOST: Final = 0.25
"""Largest weight of one film in a blend."""

TRIM: Final = 1
"""At each pixel, this many of the brightest and of the darkest films are left out: markers and print vanish."""

TOO_ALIKE: Final = 0.95
"""Thumbnail correlation above which two films may be of one person, whatever their groups say."""

LOOKS: Final = 60
"""Blends tried for a sample with the verdict of its class."""

SIDE_PX: Final = 512
THUMB_PX: Final = 32

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sample:
    """A blend that was kept: file name, class, its calibrated probability, verdict, and the number of blends tried."""

    name: str
    label: str
    probability: float
    verdict: Verdict
    tried: int


def make_samples(
    examples: Sequence[Example],
    engine: Engine,
    out: Path,
    per_class: int,
    rng: np.random.Generator,
) -> tuple[Sample, ...]:
    """Write `per_class` PNG blends of each label, and README.md, into `out`; return the samples.

    Raises:
        DataProblem: a class has too few films, or is the most probable label of too few of its blends.
    """
    out.mkdir(parents=True, exist_ok=True)
    samples: list[Sample] = []
    for label in engine.manifest.labels:
        candidates = draw_blends([example for example in examples if example.label == label], rng)
        for number in range(1, per_class + 1):
            blend, assessment, tried = _choose(candidates, engine, label)
            name = f"{label}_{number}.png"
            Image.fromarray(blend).save(out / name, optimize=True)
            samples.append(Sample(name, label, assessment.probabilities[label], assessment.verdict, tried))
    (out / "README.md").write_text(_readme(samples, engine.manifest.version), encoding="utf-8")
    return tuple(samples)


def draw_blends(films: Sequence[Example], rng: np.random.Generator) -> Iterator[Grey]:
    """Yield blends of `FILMS` films each, (SIDE_PX, SIDE_PX) uint8; every blend starts from another film.

    Raises:
        DataProblem: there are too few groups to blend.
    """
    if len({film.group for film in films}) < FILMS:
        raise DataProblem(f"A blend needs films of {FILMS} different groups of one class.")
    full = np.stack([window(squash(read_film(film.path), SIDE_PX, SIDE_PX)) for film in films])
    likeness = _likeness(full)
    for anchor in rng.permutation(len(films)):
        chosen = _closest(int(anchor), likeness, [film.group for film in films])
        if len(chosen) == FILMS:
            yield blend(full[chosen], draw_shares(FILMS, MOST, rng))


def draw_shares(count: int, most: float, rng: np.random.Generator) -> FloatArray:
    """Return `count` random weights that sum to 1, none above `most`, which must be above 1 / count."""
    even = 1 / count
    raw = rng.dirichlet(np.full(count, 2.0))
    pull = min(1.0, (most - even) / max(raw.max() - even, 1e-9))
    return (even + pull * (raw - even)).astype(np.float32)


def blend(films: FloatArray, shares: FloatArray) -> Grey:
    """Return the trimmed weighted mean of films (n, h, w) in [0, 1], windowed, its local contrast raised: (h, w) uint8.

    At each pixel the `TRIM` brightest and darkest films are left out; the others keep the proportions of their weights.
    """
    order = np.argsort(films, axis=0)[TRIM : len(films) - TRIM]
    weights = shares[order]
    mixed = (np.take_along_axis(films, order, axis=0) * weights).sum(axis=0) / weights.sum(axis=0)
    mixed = window(mixed.astype(np.float32))
    picture = Image.fromarray(np.rint(mixed * 255).astype(np.uint8))
    sharp = picture.filter(ImageFilter.UnsharpMask(radius=12, percent=200, threshold=0))
    return np.asarray(sharp, np.uint8)


def _likeness(full: FloatArray) -> FloatArray:
    """Return the correlation of the films' thumbnails, (n, n)."""
    step = SIDE_PX // THUMB_PX
    thumbs = full.reshape(len(full), THUMB_PX, step, THUMB_PX, step).mean(axis=(2, 4)).reshape(len(full), -1)
    return np.corrcoef(thumbs).astype(np.float32)


def _closest(anchor: int, likeness: FloatArray, groups: Sequence[str]) -> list[int]:
    """Return the film and those most similar to it, each of another group and no two too alike: at most `FILMS`."""
    chosen: list[int] = []
    for index in [anchor, *np.argsort(-likeness[anchor]).tolist()]:
        is_new = groups[index] not in {groups[other] for other in chosen}
        if is_new and not any(likeness[index, other] > TOO_ALIKE for other in chosen):
            chosen.append(index)
        if len(chosen) == FILMS:
            break
    return chosen


def _choose(candidates: Iterator[Grey], engine: Engine, label: str) -> tuple[Grey, Assessment, int]:
    """Return the first of the next `LOOKS` blends with the verdict of its class, its assessment and its number.

    Where none has it, return the one with the highest probability of the class among those that it is the most probable
    label of.
    """
    best: tuple[Grey, Assessment, int] | None = None
    for tried, candidate in enumerate(islice(candidates, LOOKS), start=1):
        assessment = assess(look(engine, [candidate])[0], engine.manifest)
        if assessment.verdict == label:
            return candidate, assessment, tried
        probability = assessment.probabilities[label]
        is_leading = probability == max(assessment.probabilities.values())
        is_option = assessment.verdict != Verdict.NOT_ASSESSABLE and is_leading
        if is_option and (best is None or probability > best[1].probabilities[label]):
            best = candidate, assessment, tried
    if best is None:
        raise DataProblem(f"Of no further blend of '{label}' films is that the most probable label.")
    return best


def _readme(samples: Sequence[Sample], version: str) -> str:
    lines = [
        "# Sample films",
        "",
        f"Made by `plainfilm samples`. Each picture is a trimmed weighted mean of {FILMS} films of one class and of",
        f"{FILMS} different groups (patients, as far as the source tells them) of the training split. No film weighs",
        f"more than {MOST:.0%}; at each pixel the {TRIM} brightest and the {TRIM} darkest film are left out.",
        "Local contrast is raised, since a mean of films is hazier than a film.",
        "No picture shows a person, and none is a film anyone was examined with.",
        "",
        f"Each is the first of up to {LOOKS} blends to which the shipped model (version {version}) gave the verdict of",
        "their class, or, where none got it, the one that leans to it most; `tried` says which. A blend is no film,",
        "so abstentions are many. They show what the service looks like; they measure nothing.",
        "",
        "| file | blend of | probability of the class | verdict | tried |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {s.name} | {FILMS} `{s.label}` films | {s.probability:.3f} | {s.verdict} | {s.tried} |" for s in samples
    ]
    return "\n".join(lines) + "\n"
