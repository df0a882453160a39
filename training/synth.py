"""Synthetic, film-like pictures of four labels, for tests and the `tiny` recipe: drawn by this program, of no person.

Two dark lung fields on a bright body; 'covid19' gets patches at the outer lower edges, 'viral_pneumonia' streaks
around the middle, 'tuberculosis' one round shadow at the top of a lung, 'normal' none of these. They resemble films
only roughly: they are good for testing code and nothing else.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from training.recipe import LABELS

SIDE_PX: Final = 96
COLUMNS: Final = ("file", "label", "group", "split", "pool")

Grey = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]


def draw_film(label: str, rng: np.random.Generator) -> Grey:
    """Return one picture (SIDE_PX, SIDE_PX) uint8 of that label."""
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / SIDE_PX
    shift_x, shift_y = rng.uniform(-0.03, 0.03, 2)
    picture = 0.75 - 0.15 * np.abs(y - 0.5) + shift_x
    for middle in (0.3, 0.7):
        picture -= 0.5 * _blob(x - middle - shift_x, y - 0.48 - shift_y, 0.13, 0.27)
    if label == "covid19":
        for middle in (0.22, 0.78):
            picture += rng.uniform(0.35, 0.5) * _blob(x - middle - shift_x, y - 0.66 - shift_y, 0.07, 0.09)
    if label == "viral_pneumonia":
        waves = np.sin(40 * (x + y * rng.uniform(0.5, 1.0)))
        picture += rng.uniform(0.2, 0.3) * waves * _blob(x - 0.5 - shift_x, y - 0.45 - shift_y, 0.26, 0.2)
    if label == "tuberculosis":
        middle = rng.choice((0.3, 0.7))
        picture += rng.uniform(0.4, 0.5) * _blob(x - middle - shift_x, y - 0.3 - shift_y, 0.1, 0.08)
    picture += rng.normal(0, 0.02, picture.shape)
    grey = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return np.asarray(grey.filter(ImageFilter.GaussianBlur(0.8)), np.uint8)


def _blob(x: Plane, y: Plane, width: float, height: float) -> Plane:
    """Return a smooth ellipse: 1 in the middle, 0 far away."""
    return np.exp(-(((x / width) ** 2 + (y / height) ** 2) ** 2))


def write_films(folder: Path, per_class: dict[str, int], seed: int, labels: tuple[str, ...] = LABELS) -> Path:
    """Draw films into `folder`: PNG files and a manifest.csv.

    Args:
        per_class: split -> films of each label.
        labels: the labels drawn; each is a pool of its own where they are not the study's.

    Returns:
        The manifest's path.
    """
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.csv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for number, (split, label) in enumerate(_plan(per_class, labels)):
            name = f"images/s{number:04d}.png"
            Image.fromarray(draw_film(label, rng)).save(folder / name)
            pool = "drawn" if labels == LABELS else f"drawn {label}"
            writer.writerow({"file": name, "label": label, "group": f"s{number}", "split": split, "pool": pool})
    return manifest


def _plan(per_class: dict[str, int], labels: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(split, label) for split, count in per_class.items() for _ in range(count) for label in labels]
