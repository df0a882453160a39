"""Sample films are blends: of several films of different groups, none of them dominant, verdict and README included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared import samples as shipped
from shared.errors import DataProblem
from tests.models import RuleEngine, make_manifest
from training.manifest_csv import read_manifest_csv
from training.recipe import LABELS
from training.samples import FILMS, MOST, blend, draw_blends, draw_shares, make_samples
from training.synth import write_films


@pytest.mark.parametrize("seed", range(20))
def test_no_film_dominates_a_blend(seed: int) -> None:
    """Weights sum to 1, each positive and none above the limit."""
    shares = draw_shares(FILMS, MOST, np.random.default_rng(seed))
    assert shares.sum() == pytest.approx(1, abs=1e-6)
    assert shares.min() > 0
    assert shares.max() <= MOST + 1e-6


def test_blend_is_the_weighted_mean() -> None:
    """A ramp in every film stays a ramp, whatever the weights; a bright mark in one film vanishes."""
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    films = np.stack([ramp] * FILMS)
    films[0, 20:30, 20:30] = 1.0
    mixed = blend(films, draw_shares(FILMS, MOST, np.random.default_rng(1)))
    assert mixed.dtype == np.uint8
    assert np.abs(mixed[:, 16:48].astype(int) - ramp[:, 16:48] * 255).max() <= 4


def test_blend_needs_enough_groups(tmp_path: Path) -> None:
    """Fewer groups than a blend takes are refused."""
    films = read_manifest_csv(write_films(tmp_path, {"train": FILMS - 1}, seed=1))
    with pytest.raises(DataProblem, match=f"{FILMS} different groups"):
        next(draw_blends([film for film in films if film.label == "normal"], np.random.default_rng(1)))


def test_only_blends_that_lean_to_their_class_are_kept(tmp_path: Path) -> None:
    """An engine that calls everything normal gives normal blends and no others."""
    films = read_manifest_csv(write_films(tmp_path, {"train": FILMS + 1}, seed=1))
    rng = np.random.default_rng(1)
    for film in films:  # drawn films are too alike to be blended
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).resize((96, 96)).save(film.path)
    engine = RuleEngine(make_manifest(labels=("normal", "covid19", "viral_pneumonia")), ((0.9, 0.05, 0.05),))
    with pytest.raises(DataProblem, match="'covid19'"):
        make_samples(films, engine, tmp_path / "out", 2, rng)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["normal_1.png", "normal_2.png"]


def test_shipped_samples_are_blends_by_their_readme() -> None:
    """Four 8-bit grey PNG of each class, at most 150 kB, each listed with how many films it blends."""
    readme = (Path(shipped.__file__).parent / "README.md").read_text(encoding="utf-8")
    paths = shipped.paths()
    assert [path.name for path in paths] == [f"{label}_{n}.png" for label in LABELS for n in (1, 2, 3, 4)]
    for path in paths:
        assert path.stat().st_size <= 150_000
        assert f"| {path.name} | {FILMS} `{path.stem.rpartition('_')[0]}` films |" in readme
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("L", (512, 512))
