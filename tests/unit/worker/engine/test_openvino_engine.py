"""The OpenVINO engine against the Keras one: every kind of row, the gate, the maps; and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared import samples
from shared.arrays import FloatArray
from shared.errors import ManifestMismatch, WrongShape
from shared.manifest import read_manifest
from tests.models import make_arrays, make_manifest, write_model
from training.export import fold
from worker.engine import SHIPPED_MODEL, keras_engine, openvino_engine, openvino_network
from worker.engine.architecture import Architecture, float32_rows, folded, lite0, seed2020, tiny
from worker.engine.attribution import over_peak
from worker.engine.base import Inference
from worker.engine.golden import by_sha256, check_golden, read_golden, see
from worker.engine.int8 import computes_int8
from worker.engine.layers import (
    Add,
    BatchNorm,
    Conv,
    Dense,
    Depthwise,
    GlobalPool,
    Layer,
    MaxPool,
    Relu,
    Repeat,
    Rescale,
)
from worker.engine.weights import Weights, load_weights

TOLERANCE = 2e-5
"""Between the two engines; seen on random and shipped networks: 1e-6 at most (x86-64, November 2026)."""

EVERY_ROW: tuple[Layer, ...] = (
    Repeat("repeat", 3),
    Rescale("rescale", 1.7, -0.4),
    Conv("valid", 6, 3, stride=2, padding="valid", has_bias=True),
    BatchNorm("valid_bn"),
    Relu("valid_relu"),
    BatchNorm("late_bn"),
    MaxPool("pooled", 3),
    Conv("even", 8, 4, stride=2),
    Relu("even_relu", 6.0),
    Depthwise("depthwise", 5, stride=1),
    BatchNorm("depthwise_bn"),
    Add("added", "even_relu"),
    GlobalPool("mean"),
)


def every_row(outputs: int) -> Architecture:
    """A network that has each kind of row but Flatten, which no network that ends pooled has."""
    return Architecture("every", (61, 64, 1), "added", (*EVERY_ROW, Dense("logits", outputs)))


def make_weights(architecture: Architecture, seed: int = 1) -> Weights:
    """Random folded arrays of a table."""
    return Weights(folded(architecture), fold(architecture, make_arrays(architecture, seed)), None)


def both(weights: Weights, x: FloatArray, target: str) -> tuple[Inference, Inference]:
    """What OpenVINO and Keras say."""
    manifest = make_manifest(input_shape=weights.architecture.input_shape, target_layer=target, temperature=1.7)
    return (
        openvino_engine.build_engine(manifest, weights).infer(x),
        keras_engine.build_engine(manifest, weights).infer(x),
    )


def assert_equal(ours: Inference, theirs: Inference) -> None:
    """All five arrays, shape and type included."""
    for name in ("probabilities", "other", "film_distance", "feature_distance", "saliency"):
        mine, reference = getattr(ours, name), getattr(theirs, name)
        assert (mine.shape, mine.dtype) == (reference.shape, reference.dtype), name
        np.testing.assert_allclose(mine, reference, atol=TOLERANCE, rtol=TOLERANCE, err_msg=name)


def draw(count: int, shape: tuple[int, int, int]) -> FloatArray:
    """Random inputs in [0, 1]."""
    return np.random.default_rng(5).random((count, *shape), np.float32)


@pytest.mark.parametrize("outputs", [3, 4])
@pytest.mark.parametrize("make", [every_row, tiny, lite0])
def test_both_engines_say_the_same(make: Callable[[int], Architecture], outputs: int) -> None:
    """Random weights, odd sides, with and without an output for other findings."""
    architecture = make(outputs)
    weights = make_weights(architecture)
    target = weights.architecture.target_layer
    assert_equal(*both(weights, draw(3, architecture.input_shape), target))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_film_is_answered_the_same_alone_and_in_a_batch(tmp_path: Path, threads: int) -> None:
    """To the last bit, whatever else is in the batch and however many are computed at once."""
    manifest = write_model(tmp_path)
    engine = openvino_engine.build_engine(manifest, load_weights(tmp_path, manifest), threads)
    x = draw(7, (64, 64, 1))
    together = engine.infer(x)
    for place in range(7):
        alone = engine.infer(x[place : place + 1])
        np.testing.assert_array_equal(alone.probabilities[0], together.probabilities[place])
        np.testing.assert_array_equal(alone.saliency[0], together.saliency[place])


def test_an_earlier_answer_is_not_overwritten_by_a_later_one(tmp_path: Path) -> None:
    """The library reuses its buffers; what was answered is the caller's."""
    manifest = write_model(tmp_path)
    engine = openvino_engine.build_engine(manifest, load_weights(tmp_path, manifest))
    first = engine.infer(draw(2, (64, 64, 1)))
    kept = [first.probabilities.copy(), first.saliency.copy()]
    engine.infer(np.ones((2, 64, 64, 1), np.float32))
    np.testing.assert_array_equal(first.probabilities, kept[0])
    np.testing.assert_array_equal(first.saliency, kept[1])


def test_the_shipped_model_passes_its_golden_films_and_agrees_with_keras() -> None:
    """The films through both engines: scores, gate and maps; and the record made on the other device holds."""
    manifest = read_manifest(SHIPPED_MODEL)
    weights = load_weights(SHIPPED_MODEL, manifest)
    ours, theirs = openvino_engine.build_engine(manifest, weights), keras_engine.build_engine(manifest, weights)
    assert check_golden(ours, read_golden(SHIPPED_MODEL)).value == "passed"
    films = list(by_sha256(samples.paths()).values())
    for mine, reference in zip(see(ours, films), see(theirs, films), strict=True):
        np.testing.assert_allclose(mine.probabilities, reference.probabilities, atol=TOLERANCE)
        np.testing.assert_allclose(
            [mine.other, mine.film_distance, mine.feature_distance],
            [reference.other, reference.film_distance, reference.feature_distance],
            atol=TOLERANCE, rtol=TOLERANCE,
        )  # fmt: skip


@pytest.mark.skipif(not computes_int8(), reason="this processor has no instructions for it")
def test_the_shipped_models_golden_films_speak_for_int8() -> None:
    """So that it is what serves where the processor has it; 43 rows are in it, those before them in float32."""
    manifest = read_manifest(SHIPPED_MODEL)
    weights = load_weights(SHIPPED_MODEL, manifest)
    engine = openvino_engine.build_engine(manifest, weights, precision="int8")
    assert check_golden(engine, read_golden(SHIPPED_MODEL)).value == "passed"
    names = [layer.name for layer in weights.architecture.layers]
    assert len(weights.int8) == 43
    assert min(map(names.index, weights.int8)) == float32_rows(weights.architecture)


def test_arithmetic_it_has_not_is_refused(tmp_path: Path) -> None:
    """bfloat16 is TensorFlow's; int8 needs a model that was quantized."""
    manifest = write_model(tmp_path)
    weights = load_weights(tmp_path, manifest)
    with pytest.raises(ManifestMismatch, match="f32 or int8"):
        openvino_engine.build_engine(manifest, weights, precision="bf16")
    with pytest.raises(ManifestMismatch, match="not quantized"):
        openvino_engine.build_engine(manifest, weights, precision="int8")
    with pytest.raises(ManifestMismatch, match="f32 or bf16"):
        keras_engine.build_engine(manifest, weights, precision="int8")


def test_a_network_that_ends_otherwise_is_refused() -> None:
    """Its Grad-CAM needs a gradient, which OpenVINO does not give."""
    with pytest.raises(ManifestMismatch, match="seed2020"):
        openvino_network.build_network(make_weights(seed2020(3)), "conv4_relu", None)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 64, 32, 1), np.float32),
        np.zeros((64, 64, 1), np.float32),
        np.zeros((0, 64, 64, 1), np.float32),
        np.zeros((1, 64, 64, 1), np.float64),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, x: FloatArray) -> None:
    """As the other engine does."""
    manifest = write_model(tmp_path)
    engine = openvino_engine.build_engine(manifest, load_weights(tmp_path, manifest))
    with pytest.raises(WrongShape):
        engine.infer(x)


def test_a_map_that_says_nothing_is_all_zero() -> None:
    """Where no activation speaks for the label, or the peak is not finite."""
    raw = np.stack([np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(4) * 3]).astype(np.float32)
    found = over_peak(raw)
    assert found[:2].max() == 0
    np.testing.assert_array_equal(found[2], np.eye(4))


def test_nothing_of_it_calls_home_and_tensorflow_stays_out() -> None:
    """In a process of its own: neither the library's telemetry nor TensorFlow is loaded."""
    code = (
        "import sys; from worker.engine import openvino_engine; "
        "print([m for m in sys.modules if m.startswith(('openvino_telemetry.', 'tensorflow', 'keras'))])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_gate_measures_a_film_the_same_alone_and_in_a_batch() -> None:
    """To the last bit, with the shipped gate: a film at its limit must not be refused for its neighbours."""
    gate = load_weights(SHIPPED_MODEL, read_manifest(SHIPPED_MODEL)).gate
    assert gate is not None
    features = np.random.default_rng(3).standard_normal((12, len(gate.mean))).astype(np.float32)
    together = gate.distances(features)
    alone = [gate.distances(features[place : place + 1]) for place in range(12)]
    for which in (0, 1):
        np.testing.assert_array_equal([one[which][0] for one in alone], together[which])
