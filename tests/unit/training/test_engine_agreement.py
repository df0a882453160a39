"""Two engines on the same films: what agrees is seen to, and what does not is seen too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shared import samples
from shared.errors import DataProblem, ManifestMismatch
from shared.manifest import ModelManifest
from tests.models import make_folded, quantize_model, write_model, write_weights
from training import engine_agreement
from training.engine_agreement import ANSWERS, choose, compare
from training.export import pack
from training.fit import ignore
from worker.engine.base import Engine
from worker.engine.choose import Precision, build_engine
from worker.engine.weights import Weights

TOLERANCE = 2e-5
"""That of tests/unit/worker/engine/test_openvino_engine.py."""


def test_the_engines_agree_on_the_samples(tmp_path: Path) -> None:
    """Each answer is compared, none is far apart, each film is counted."""
    write_model(tmp_path)
    steps: list[tuple[str, int, int]] = []
    found = compare(tmp_path, samples.paths(), lambda *step: steps.append(step))
    assert found.films == len(samples.paths())
    assert set(found.largest) == set(ANSWERS)
    assert max(found.largest.values()) <= TOLERANCE
    assert found.verdicts == 0
    assert steps[-1][1:] == (found.films, found.films)


def test_an_engine_that_answers_otherwise_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another network behind one of the two: far apart."""
    write_model(tmp_path)

    def build(name: str, manifest: ModelManifest, weights: Weights, precision: Precision = "f32") -> Engine:
        assert precision == "f32"
        other = {key: -array for key, array in weights.arrays.items()} if name == "openvino" else weights.arrays
        return build_engine(name, manifest, replace(weights, arrays=other))

    monkeypatch.setattr(engine_agreement, "build_engine", build)
    assert compare(tmp_path, samples.paths(), ignore).largest["probabilities"] > 0.01


def test_coarser_arithmetic_is_compared_where_it_is_asked_for(tmp_path: Path) -> None:
    """Its answers are further apart than float32's, and the mean film's less than the worst's."""
    write_model(tmp_path)
    quantize_model(tmp_path)
    found = compare(tmp_path, samples.paths(), ignore, "int8")
    assert TOLERANCE < found.largest["probabilities"] < 0.1
    assert 0 < found.mean["probabilities"] < found.largest["probabilities"]


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    """No films; a network that OpenVINO does not serve."""
    write_model(tmp_path)
    with pytest.raises(DataProblem):
        compare(tmp_path, [], ignore)
    write_weights(tmp_path, pack(make_folded()), target_layer="conv1_relu")
    with pytest.raises(ManifestMismatch):
        compare(tmp_path, samples.paths(), ignore)


def test_films_are_drawn_by_the_seed() -> None:
    """The same ones again, in their own order; all where fewer are there."""
    films = [Path(f"{number:03d}.png") for number in range(50)]
    drawn = choose(films, 10, 1)
    assert drawn == choose(films, 10, 1) == sorted(drawn)
    assert drawn != choose(films, 10, 2)
    assert choose(films, 99, 1) == films
