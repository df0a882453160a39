"""Folding changes nothing but the number of rows; what is written is complete, repeatable and digested."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.manifest import Thresholds, read_manifest
from shared.model_report import Epoch
from tests.models import make_arrays, make_folded, quantize_model, write_model
from training.export import export, fold, pack, ship
from training.recipe import LABELS
from training.recipes import find_recipe
from training.state import FitResult
from worker.engine.architecture import Architecture, folded, lite0, seed2020, tiny
from worker.engine.keras_network import build_whole, set_arrays
from worker.engine.weights import load_weights

SMALL_LITE0 = replace(lite0(3), input_shape=(48, 40, 1))


def logits(architecture: Architecture, arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Logits of the table with these arrays, as when serving."""
    network = build_whole(architecture)
    set_arrays((network,), architecture, arrays)
    return network(x, training=False).numpy()


def make_result() -> FitResult:
    """A result of the `tiny` recipe with random arrays."""
    return FitResult(
        recipe=find_recipe("tiny"),
        architecture=tiny(3),
        arrays=make_arrays(tiny(3)),
        history=(Epoch(1, 1.0, 0.5, 0.9, 0.6, 2.0), Epoch(2, 0.8, 0.7, 0.7, 0.8, 2.0)),
        kept_epoch=2,
        temperature=1.5,
        thresholds=Thresholds(min_probability=0.6, min_spread=0.1, set_quantiles=dict.fromkeys(LABELS, 0.4)),
        gate=None,
        trained_on={"normal": 10},
        seconds=4.0,
    )


@pytest.mark.parametrize("architecture", [tiny(3), seed2020(3), SMALL_LITE0], ids=lambda table: table.name)
def test_folded_network_equals_the_trained_one(architecture: Architecture) -> None:
    """The same logits within 1e-5 of their size, with BatchNorms before and after ReLU, signs of gamma mixed."""
    arrays = make_arrays(architecture)
    for name in arrays:
        if name.endswith("gamma"):
            arrays[name][::3] *= -1
    x = np.random.default_rng(1).random((2, *architecture.input_shape), np.float32)
    expected = logits(architecture, arrays, x)
    actual = logits(folded(architecture), fold(architecture, arrays), x)
    assert np.abs(actual - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


def test_same_arrays_make_the_same_bytes() -> None:
    """No date, no order: the digest is of the numbers alone."""
    arrays = make_folded()
    assert pack(arrays) == pack(dict(reversed(arrays.items())))


def test_exported_folder_is_complete_and_digested(tmp_path: Path) -> None:
    """Weights, manifest with their digest, recipe and history; and the engine's reader takes it."""
    manifest = export(make_result(), tmp_path, "2026.1.1", "2026-01-01")
    assert read_manifest(tmp_path) == manifest
    assert manifest.weights_sha256 == hashlib.sha256((tmp_path / "weights.npz").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "recipe.json").read_text())["name"] == "tiny"
    assert (tmp_path / "history.csv").read_text().splitlines()[2] == "2,0.8,0.7,0.7,0.8,2.0"
    arrays = load_weights(tmp_path, manifest).arrays
    assert sum(array.size for array in arrays.values()) == manifest.parameters == 1459


def test_shipping_copies_the_model_whole(tmp_path: Path) -> None:
    """What is shipped loads, and an older model's files are replaced."""
    export(make_result(), tmp_path / "new", "2", "2026-01-01")
    (tmp_path / "old").mkdir()
    write_model(tmp_path / "old")
    ship(tmp_path / "new", tmp_path / "old")
    manifest = read_manifest(tmp_path / "old")
    assert manifest.version == "2"
    load_weights(tmp_path / "old", manifest)


def test_shipping_a_quantized_model_takes_its_rounding_along(tmp_path: Path) -> None:
    """And one that is not leaves none behind."""
    for name in ("new", "plain"):
        export(make_result(), tmp_path / name, "2", "2026-01-01")
    quantize_model(tmp_path / "new")
    ship(tmp_path / "new", tmp_path / "out")
    assert load_weights(tmp_path / "out", read_manifest(tmp_path / "out")).int8
    ship(tmp_path / "plain", tmp_path / "out")
    assert not load_weights(tmp_path / "out", read_manifest(tmp_path / "out")).int8
    assert not (tmp_path / "out" / "int8.npz").exists()
