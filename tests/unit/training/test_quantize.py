"""A model is quantized by films that it learned from; it then says nearly the same in integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared import samples
from shared.errors import DataProblem, ManifestMismatch
from shared.manifest import read_manifest
from tests.models import make_arrays, make_manifest, quantize_model, write_model
from training.dataset import film_sha256
from training.export import fold
from training.fit import ignore
from training.learned import LearnedFilms, write_learned
from training.quantize import can_quantize, learned_among, quantize, write_int8
from worker.engine import openvino_engine
from worker.engine.architecture import folded, lite0, seed2020, tiny
from worker.engine.weights import Weights, load_weights


def test_rows_behind_the_first_ones_are_rounded() -> None:
    """All convolutions but those that the table keeps in float32."""
    table = lite0(3)
    weights = Weights(folded(table), fold(table, make_arrays(table)), None)
    films = np.random.default_rng(1).random((1, *table.input_shape), np.float32)
    found = quantize(weights, films, ignore)
    names = [layer.name for layer in weights.architecture.layers]
    assert next(iter(found)) == "block02_expand"
    assert list(found) == [name for name in names if f"{name}.kernel" in weights.arrays][5 + 1 : -1]
    assert all(parts.keys() == {"up", "scale", "bias", "range"} for parts in found.values())


def test_a_quantized_model_says_nearly_the_same(tmp_path: Path) -> None:
    """Probabilities within .02 of float32's, but not equal; its device names the arithmetic."""
    write_model(tmp_path)
    quantize_model(tmp_path)
    manifest = read_manifest(tmp_path)
    weights = load_weights(tmp_path, manifest)
    coarse, fine = (openvino_engine.build_engine(manifest, weights, precision=each) for each in ("int8", "f32"))
    x = np.random.default_rng(8).random((20, 64, 64, 1), np.float32)
    apart = np.abs(coarse.infer(x).probabilities - fine.infer(x).probabilities)
    assert 0 < apart.max() < 0.02
    assert coarse.device == f"{fine.device} int8"


def test_only_what_openvino_serves_is_quantized(tmp_path: Path) -> None:
    """The study's network is not."""
    assert can_quantize(folded(tiny(3)), folded(tiny(3)).target_layer)
    assert not can_quantize(folded(seed2020(3)), "conv4_relu")
    write_model(tmp_path, target_layer="conv1_relu")
    with pytest.raises(ManifestMismatch, match="'tiny'"):
        write_int8(tmp_path, samples.paths(), 0, ignore)


def test_films_it_did_not_learn_from_are_left(tmp_path: Path) -> None:
    """None at all is an error, as is a model that has no record of its films."""
    paths = samples.paths()
    with pytest.raises(DataProblem, match="learned from none"):
        learned_among(tmp_path, paths)
    mine = sorted(film_sha256(path) for path in paths[:4])
    write_learned(tmp_path, LearnedFilms(learned_from=tuple(mine[:3]), chosen_by=tuple(mine[3:])))
    assert sorted(film_sha256(path) for path in learned_among(tmp_path, paths)) == mine[:3]


def test_the_order_of_the_films_plays_no_part(tmp_path: Path) -> None:
    """Nor where they lie: they are drawn by their bytes."""
    write_model(tmp_path)
    first = write_int8(tmp_path, samples.paths(), 3, ignore)
    second = write_int8(tmp_path, samples.paths()[::-1], 3, ignore)
    assert first.int8_sha256 == second.int8_sha256 is not None
    assert first.model_copy(update={"int8_sha256": None}) == make_manifest(weights_sha256=first.weights_sha256)
