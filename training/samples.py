"""Sample films for the demo and the tests: each a weighted blend of several films of one class, of no one person.

A blend takes a film and its most similar ones of other groups, so that ribs and hearts roughly meet and the result
still looks like a film; none weighs more than `MOST`, and no two are nearly the same. The first blend is kept that the
model gives the class's own verdict, or else the one that leans to it most: samples show how the service looks, and
measure nothing.
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
"""At each pixel so many of the brightest and of the darkest films are left out: markers and print vanish."""

TOO_ALIKE: Final = 0.95
"""Thumbnail correlation above which two films may be of one person, whatever their groups say."""

LOOKS: Final = 60
"""Blends looked at for a sample that gets the verdict of its class."""

SIDE_PX: Final = 512
THUMB_PX: Final = 32

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sample:
    """A blend that was kept: file name, class, its calibrated probability, the verdict, and blends tried for it."""

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
    """Write `per_class` PNG blends of each label, and README.md, into `out`.

    Raises:
        DataProblem: a class has too few films, or it is the most probable label of too few of its blends.
    """
    out.mkdir(parents=True, exist_ok=True)
    samples: list[Sample] = []
    for label in engine.manifest.labels:
        candidates = draw_blends([example for example in examples if example.label == label], rng)
        for number in range(1, per_class + 1):
            blend, told, tried = _choose(candidates, engine, label)
            name = f"{label}_{number}.png"
            Image.fromarray(blend).save(out / name, optimize=True)
            samples.append(Sample(name, label, told.probabilities[label], told.verdict, tried))
    (out / "README.md").write_text(_readme(samples, engine.manifest.version), encoding="utf-8")
    return tuple(samples)


def draw_blends(films: Sequence[Example], rng: np.random.Generator) -> Iterator[Grey]:
    """Blends of `FILMS` films each, (SIDE_PX, SIDE_PX) uint8; every blend starts from another film.

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
    """`count` random weights that sum to 1, none above `most` (which is above 1 / count): even ones, pulled apart."""
    even = 1 / count
    raw = rng.dirichlet(np.full(count, 2.0))
    pull = min(1.0, (most - even) / max(raw.max() - even, 1e-9))
    return (even + pull * (raw - even)).astype(np.float32)


def blend(films: FloatArray, shares: FloatArray) -> Grey:
    """Trimmed weighted mean of (n, h, w) in [0, 1], windowed, its local contrast raised: (h, w) uint8.

    At each pixel the `TRIM` brightest and darkest films take no part; the others keep their weights' proportions.
    """
    order = np.argsort(films, axis=0)[TRIM : len(films) - TRIM]
    weights = shares[order]
    mixed = (np.take_along_axis(films, order, axis=0) * weights).sum(axis=0) / weights.sum(axis=0)
    mixed = window(mixed.astype(np.float32))
    picture = Image.fromarray(np.rint(mixed * 255).astype(np.uint8))
    sharp = picture.filter(ImageFilter.UnsharpMask(radius=12, percent=200, threshold=0))
    return np.asarray(sharp, np.uint8)


def _likeness(full: FloatArray) -> FloatArray:
    """(n, n) correlation of thumbnails."""
    step = SIDE_PX // THUMB_PX
    thumbs = full.reshape(len(full), THUMB_PX, step, THUMB_PX, step).mean(axis=(2, 4)).reshape(len(full), -1)
    return np.corrcoef(thumbs).astype(np.float32)


def _closest(anchor: int, likeness: FloatArray, groups: Sequence[str]) -> list[int]:
    """The film and those most similar to it, each of another group and none too like another: at most `FILMS`."""
    chosen: list[int] = []
    for index in [anchor, *np.argsort(-likeness[anchor]).tolist()]:
        is_new = groups[index] not in {groups[other] for other in chosen}
        if is_new and not any(likeness[index, other] > TOO_ALIKE for other in chosen):
            chosen.append(index)
        if len(chosen) == FILMS:
            break
    return chosen


def _choose(candidates: Iterator[Grey], engine: Engine, label: str) -> tuple[Grey, Assessment, int]:
    """The first of the next `LOOKS` blends that gets the verdict of its class, with the verdict, and its number.

    Where none does, the one that leans to it most: whose most probable label it is, by the highest probability.
    """
    best: tuple[Grey, Assessment, int] | None = None
    for tried, candidate in enumerate(islice(candidates, LOOKS), start=1):
        told = assess(look(engine, [candidate])[0], engine.manifest)
        if told.verdict == label:
            return candidate, told, tried
        leans = told.verdict != Verdict.NOT_ASSESSABLE and told.probabilities[label] == max(told.probabilities.values())
        if leans and (best is None or told.probabilities[label] > best[1].probabilities[label]):
            best = candidate, told, tried
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
