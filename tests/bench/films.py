"""Films for the loads: the project's sample blends, enlarged, each with mild noise of its own: no two are equal.

They are made before any clock starts. Nothing medical is learned from them; they cost what such films cost.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from shared import samples
from tests.bench.plan import FilmSort, Kind

NOISE_GREY_LEVELS = 2.0
"""Standard deviation: about what a detector's noise leaves in 8 bits."""

JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Order:
    """One film to make."""

    sort: FilmSort
    number: int
    path: Path


def make_all(folder: Path, wanted: Mapping[FilmSort, int], seed: int) -> dict[FilmSort, list[Path]]:
    """So many films of each sort, as files in `folder`, made on all cores."""
    folder.mkdir(parents=True, exist_ok=True)
    orders = [
        Order(sort, number, folder / f"{sort.name}-{number:05}.{sort.kind.value}")
        for sort, count in wanted.items()
        for number in range(count)
    ]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        pool.starmap(make, [(order, seed) for order in orders], chunksize=8)
    return {sort: [order.path for order in orders if order.sort == sort] for sort in wanted}


def make(order: Order, seed: int) -> None:
    """Write one film."""
    paths = samples.paths()
    with Image.open(paths[order.number % len(paths)]) as sample:
        picture = sample.convert("L").resize((order.sort.side_px,) * 2, Image.Resampling.BICUBIC)
    draw = np.random.default_rng((seed, order.number, order.sort.side_px, list(Kind).index(order.sort.kind)))
    noisy = np.asarray(picture, np.float32) + draw.normal(0, NOISE_GREY_LEVELS, picture.size).astype(np.float32)
    made = Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    how = {"quality": JPEG_QUALITY} if order.sort.kind is Kind.JPEG else {}
    made.save(order.path, order.sort.kind.value.upper(), **how)
