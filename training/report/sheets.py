"""Saliency sheets: films classified right and wrong, with two maps each, as PNG files beside the report.

These files show films. They are written below `var/` and never into the project: see `check_place`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

import shared
from shared.arrays import FloatArray, Pixels
from shared.domain import Assessment
from shared.errors import DataProblem
from shared.imaging.heatmap import film_png, heatmap_png, stretch
from shared.imaging.preprocess import preprocess, stack
from training.dataset import Example, read_film
from training.evaluate import Answers
from training.report import words
from training.report.split import film_name
from worker.engine.explain import Explainer

ROOT: Final = Path(shared.__file__).resolve().parents[1]
"""The checkout, or the folder that the packages are installed in: see `find_checkout`."""

RIGHT_A_LABEL: Final = 2
WRONG: Final = 8
SIDE_PX: Final = 224
GAP_PX: Final = 4
MAPS: Final = ("grad_cam", "gradient")
"""The map that comes with a verdict, and the map that the 2020 study drew."""
SEED: Final = 2020


@dataclass(frozen=True, slots=True)
class Picture:
    """One film and its maps: the file, relative to the report, and its caption."""

    file: str
    caption: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """The pictures of one split."""

    split: str
    right: tuple[Picture, ...]
    wrong: tuple[Picture, ...]


def find_checkout(root: Path = ROOT) -> Path | None:
    """Return the project's folder; None where the packages are installed without it."""
    return root if (root / "pyproject.toml").is_file() else None


def check_place(out: Path) -> None:
    """Check that films are not written into the project.

    Raises:
        DataProblem: the folder is in the checkout, and not below its `var/`.
    """
    place, project = out.resolve(), find_checkout()
    if project and place.is_relative_to(project) and not place.is_relative_to(project / "var"):
        raise DataProblem("The report shows films: inside the project it can only be written below var/.")


@dataclass(frozen=True, slots=True)
class Bench:
    """Inputs that all sheets share: the explainer, the report's folder, the folder that film names are relative to."""

    explainer: Explainer
    out: Path
    root: Path


def draw_sheet(split: str, answers: Answers, bench: Bench) -> Sheet:
    """Write the pictures of one split to `films/`: a seeded draw of right films, and the most confident wrong films."""
    (bench.out / "films").mkdir(parents=True, exist_ok=True)
    right, wrong = _choose(answers, bench.explainer.manifest.labels)

    def draw(indices: Sequence[int], kind: str) -> tuple[Picture, ...]:
        numbered = enumerate(indices, start=1)
        rows = [(f"films/{split}_{kind}_{n}.png", answers.examples[i], answers.assessments[i]) for n, i in numbered]
        return tuple(_draw(file, example, assessment, bench) for file, example, assessment in rows)

    return Sheet(split, draw(right, "right"), draw(wrong, "wrong"))


def _choose(answers: Answers, labels: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return indices of films: some of each label whose forced choice is right, and the most confident wrong films."""
    tops = [max(each.probabilities.items(), key=lambda pair: pair[1]) for each in answers.assessments]
    order = np.random.default_rng(SEED).permutation(len(tops))
    right: list[int] = []
    for label in labels:
        candidates = [int(i) for i in order if answers.truth[i] == label == tops[i][0]]
        right += candidates[:RIGHT_A_LABEL]
    wrong = [i for i, label in enumerate(answers.truth) if label in labels and tops[i][0] != label]
    return right, sorted(wrong, key=lambda i: -tops[i][1])[:WRONG]


def _draw(file: str, example: Example, assessment: Assessment, bench: Bench) -> Picture:
    pixels, manifest = read_film(example.path), bench.explainer.manifest
    x = stack([preprocess(pixels, manifest.preprocessing, manifest.input_shape)])
    maps = {method: bench.explainer.explain(x, method, seed=SEED)[0] for method in MAPS}
    panels = [film_panel(pixels), overlay(pixels, maps["grad_cam"]), overlay(pixels, stretch(maps["gradient"]))]
    side_by_side(panels).save(bench.out / file)
    choice, probability = max(assessment.probabilities.items(), key=lambda pair: pair[1])
    named = assessment.verdict.value
    verdict = "" if named == choice else f"; verdict {named.replace('_', ' ')}"
    name = film_name(example.path, bench.root)
    called = f"{words.label(example.label)}, called {words.label(choice)} at {words.probability(probability)}"
    return Picture(file, f"{called}{verdict} ({name})")


def film_panel(pixels: Pixels) -> Image.Image:
    """Return the film as it is displayed, at most `SIDE_PX` a side."""
    return _open(film_png(pixels, SIDE_PX)).convert("RGB")


def overlay(pixels: Pixels, values: FloatArray) -> Image.Image:
    """Return the film with a map over it; the brighter and yellower a place, the more it changed the score."""
    ground = film_panel(pixels).convert("RGBA")
    heat = _open(heatmap_png(values, *ground.size)).convert("RGBA")
    return Image.alpha_composite(ground, heat).convert("RGB")


def side_by_side(panels: Sequence[Image.Image]) -> Image.Image:
    """Return pictures of one size in a row."""
    width, height = panels[0].size
    row = Image.new("RGB", (len(panels) * (width + GAP_PX) - GAP_PX, height))
    for number, panel in enumerate(panels):
        row.paste(panel, (number * (width + GAP_PX), 0))
    return row


def _open(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture
