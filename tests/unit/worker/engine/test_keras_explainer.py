"""The explainer on TensorFlow, on nets made by hand: their gradients, maps and scores are written out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared import samples
from shared.errors import InvalidRequest, WrongShape
from shared.imaging.preprocess import preprocess, stack
from tests.models import make_folded, make_manifest, write_model
from training.dataset import read_film
from worker.engine import SHIPPED_MODEL
from worker.engine.architecture import Architecture, folded, tiny
from worker.engine.explain import DEFAULTS, METHODS, IntegratedGradients, Plain, SmoothGrad
from worker.engine.keras_engine import KerasEngine, load_engine
from worker.engine.keras_explainer import KerasExplainer, build_explainer, load_explainer
from worker.engine.layers import Conv, Dense, Flatten, GlobalPool, Relu

WEIGHTS = np.random.default_rng(7).normal(size=(6, 5, 1, 3)).astype(np.float32)
X = np.random.default_rng(8).random((4, 6, 5, 1), np.float32)


@pytest.fixture(scope="module")
def linear() -> KerasExplainer:
    """logit_k = sum of WEIGHTS[..., k] x: a 1 x 1 convolution that copies, and one dense layer."""
    layers = (Conv("copy", 1, 1), Flatten("flatten"), Dense("logits", 3))
    arrays = {
        "copy.kernel": np.ones((1, 1, 1, 1), np.float32),
        "logits.kernel": WEIGHTS.reshape(30, 3),
        "logits.bias": np.zeros(3, np.float32),
    }
    manifest = make_manifest(input_shape=(6, 5, 1), target_layer="copy", temperature=2.0)
    return build_explainer(manifest, Architecture("linear", (6, 5, 1), "copy", layers), arrays)


@pytest.fixture(scope="module")
def pooled() -> KerasExplainer:
    """Two channels, relu(x) and relu(1 - x), their means, one dense layer: Grad-CAM by hand."""
    layers = (Conv("two", 2, 1, has_bias=True), Relu("features"), GlobalPool("pool"), Dense("logits", 3))
    arrays = {
        "two.kernel": np.array([1, -1], np.float32).reshape(1, 1, 1, 2),
        "two.bias": np.array([0, 1], np.float32),
        "logits.kernel": np.array([[1, 0, -1], [-2, 3, 2]], np.float32),
        "logits.bias": np.zeros(3, np.float32),
    }
    manifest = make_manifest(input_shape=(6, 5, 1), target_layer="features")
    return build_explainer(manifest, Architecture("pooled", (6, 5, 1), "features", layers), arrays)


@pytest.fixture(scope="module")
def curved(tmp_path_factory: pytest.TempPathFactory) -> tuple[KerasExplainer, KerasEngine]:
    """The `tiny` table with random weights, as explainer and as engine."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, temperature=2.5)
    return load_explainer(folder), load_engine(folder)


def make_films(count: int) -> np.ndarray:
    """Random inputs (count, 64, 64, 1) in [0, 1]."""
    return np.random.default_rng(3).random((count, 64, 64, 1), np.float32)


def over_peak(values: np.ndarray) -> np.ndarray:
    """Each map of (N, h, w) over its largest value."""
    return values / values.max(axis=(1, 2), keepdims=True)


def test_scores_are_the_softmax_of_the_labels_logits(linear: KerasExplainer) -> None:
    """exp(logit / 2) over their sum, the temperature being 2."""
    powers = np.exp(np.einsum("nhwc,hwck->nk", X, WEIGHTS) / 2)
    np.testing.assert_allclose(linear.scores(X), powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)


def test_scores_are_those_of_the_engine(curved: tuple[KerasExplainer, KerasEngine]) -> None:
    """The explainer explains what the engine answered, in one batch or several."""
    explainer, engine = curved
    films = make_films(35)
    np.testing.assert_allclose(explainer.scores(films), engine.infer(films).probabilities, atol=1e-6)


def test_grad_cam_is_that_of_the_engine(curved: tuple[KerasExplainer, KerasEngine]) -> None:
    """The map that comes with the verdict and the one made afterwards are the same."""
    explainer, engine = curved
    films = make_films(5)
    np.testing.assert_allclose(explainer.explain(films, "grad_cam"), engine.infer(films).saliency, atol=1e-5)


def test_gradient_of_a_linear_net_is_its_weights(linear: KerasExplainer) -> None:
    """|w_k| over its largest, for each film its own label."""
    labels = np.array([2, 0, 1, 2])
    expected = over_peak(np.abs(WEIGHTS[..., 0, :].transpose(2, 0, 1)[labels]))
    np.testing.assert_allclose(linear.explain(X, "gradient", labels), expected, rtol=1e-5)
    np.testing.assert_allclose(linear.explain(X, "smooth_grad", labels, seed=4), expected, rtol=1e-4, atol=1e-6)


def test_integrated_gradients_of_a_linear_net_are_weights_times_film(linear: KerasExplainer) -> None:
    """|w_k x| over its largest."""
    labels = np.array([2, 0, 1, 2])
    expected = over_peak(np.abs(WEIGHTS[..., 0, :].transpose(2, 0, 1)[labels] * X[..., 0]))
    np.testing.assert_allclose(linear.explain(X, "integrated_gradients", labels), expected, rtol=1e-4, atol=1e-6)


def test_most_probable_label_is_explained_unless_named(linear: KerasExplainer) -> None:
    """No labels: each film's largest score decides; here films that are bright where one label's weights are."""
    labels = np.array([2, 0, 1])
    films = (WEIGHTS.transpose(3, 0, 1, 2)[labels] > 0).astype(np.float32)
    np.testing.assert_array_equal(linear.scores(films).argmax(axis=1), labels)
    for method in METHODS:
        np.testing.assert_array_equal(linear.explain(films, method), linear.explain(films, method, labels))


def test_cams_of_two_channels_are_as_written_out(pooled: KerasExplainer) -> None:
    """Label 0 weighs relu(x) 1 and relu(1 - x) -2; label 1 weighs 0 and 3.

    Grad-CAM: relu(x - 2 (1 - x)) and 1 - x. Grad-CAM++ has positive weights only: x and 1 - x.
    """
    labels = np.array([0, 1, 0, 1])
    x = X[..., 0]
    is_first = (labels == 0)[:, np.newaxis, np.newaxis]
    plain = over_peak(np.where(is_first, np.maximum(3 * x - 2, 0), 1 - x))
    plus_plus = over_peak(np.where(is_first, x, 1 - x))
    np.testing.assert_allclose(pooled.explain(X, "grad_cam", labels), plain, atol=1e-5)
    np.testing.assert_allclose(pooled.explain(X, "grad_cam_plus_plus", labels), plus_plus, atol=1e-5)


def test_integrated_gradients_are_complete(curved: tuple[KerasExplainer, KerasEngine]) -> None:
    """The attributions of a net with kinks sum to the logit's difference from black, within 1 % at 500 steps."""
    explainer, _ = curved
    films = make_films(3)
    labels = np.array([0, 1, 2])
    found = explainer.attributions(films, labels, IntegratedGradients(500), 0).sum(axis=(1, 2, 3))
    ends = explainer.logits(films) - explainer.logits(np.zeros_like(films))
    np.testing.assert_allclose(found, ends[np.arange(3), labels], rtol=0.01)


def test_smooth_grad_without_noise_is_the_gradient(curved: tuple[KerasExplainer, KerasEngine]) -> None:
    """Noise 0 changes nothing."""
    explainer, _ = curved
    films = make_films(2)
    smooth = explainer.explain(films, "smooth_grad", parameters=SmoothGrad(3, 0.0))
    np.testing.assert_allclose(smooth, explainer.explain(films, "gradient"), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_maps_have_the_promised_shape_and_range(curved: tuple[KerasExplainer, KerasEngine], method: str) -> None:
    """(N, h, w) float32, peak 1 or all zero: the target layer's 8 x 8, or the input's 64 x 64."""
    explainer, _ = curved
    maps = explainer.explain(make_films(3), method, np.array([0, 1, 2]))
    side = 8 if method.startswith("grad_cam") else 64
    assert maps.shape == (3, side, side)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    peaks = maps.max(axis=(1, 2)).tolist()
    assert set(peaks) <= {0.0, 1.0}
    assert 1.0 in peaks


@pytest.mark.parametrize("method", METHODS)
def test_a_film_has_the_same_map_alone_and_in_a_batch(curved: tuple[KerasExplainer, KerasEngine], method: str) -> None:
    """Batching changes nothing beyond rounding, across the edge of a batch too."""
    explainer, _ = curved
    films = make_films(34)
    labels = np.arange(34) % 3
    few = {"smooth_grad": SmoothGrad(3), "integrated_gradients": IntegratedGradients(3)}.get(method, Plain())
    together = explainer.explain(films, method, labels, 5, few)
    for place in (0, 31, 32, 33):
        alone = explainer.explain(films[place : place + 1], method, labels[place : place + 1], 5, few)
        np.testing.assert_allclose(alone[0], together[place], atol=1e-4)


TWICE = """
import json, sys
import json
import os
import subprocess
import sys
from pathlib import Path
import numpy as np
from tests.models import write_model
from worker.engine.explain import METHODS
from worker.engine.keras_explainer import load_explainer
write_model(Path(sys.argv[1]), temperature=2.5)
explainer = load_explainer(Path(sys.argv[1]))
film = np.random.default_rng(3).random((1, 64, 64, 1), np.float32)
said = {}
for method in METHODS:
    first, again, other = (explainer.explain(film, method, seed=seed) for seed in (1, 1, 2))
    said[method] = [np.array_equal(first, again), np.array_equal(first, other)]
print(json.dumps(said))
"""
"""Whether each method's maps are equal with the same seed and with another one."""


def test_seed_reproduces_the_map(tmp_path: Path) -> None:
    """The same seed gives the same map; another one another map, where there is a draw.

    Bit by bit, so without oneDNN, whose convolutions depend in the last digit on where in memory a film lies.
    """
    ran = subprocess.run(
        [sys.executable, "-c", TWICE, str(tmp_path)],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPP_MIN_LOG_LEVEL": "2"},
        cwd=Path(__file__).parents[4], check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(ran.stdout) == {method: [True, method != "smooth_grad"] for method in METHODS}


def test_what_does_not_fit_is_refused(linear: KerasExplainer) -> None:
    """An unknown method, another method's parameters, a film of another size, a label there is not."""
    with pytest.raises(InvalidRequest, match="lime"):
        linear.explain(X, "lime")
    with pytest.raises(InvalidRequest):
        linear.explain(X, "gradient", parameters=DEFAULTS["smooth_grad"])
    with pytest.raises(WrongShape):
        linear.explain(X[:, :5], "gradient")
    with pytest.raises(WrongShape):
        linear.explain(X, "gradient", np.array([0, 1, 2, 3]))
    with pytest.raises(WrongShape):
        linear.scores(X[:0])


def test_an_output_for_other_findings_is_never_explained() -> None:
    """A fourth logit, the largest of all, neither wins nor takes part in the scores."""
    arrays = make_folded()
    plain = build_explainer(make_manifest(), folded(tiny(3)), arrays)
    kernel, bias = arrays["logits.kernel"], arrays["logits.bias"]
    more = arrays | {
        "logits.kernel": np.concatenate([kernel, np.ones((16, 1), np.float32)], axis=1),
        "logits.bias": np.append(bias, np.float32(99)),
    }
    with_other = build_explainer(make_manifest(other_label="other_finding"), folded(tiny(4)), more)
    films = make_films(3)
    np.testing.assert_allclose(with_other.scores(films), plain.scores(films), atol=1e-6)
    np.testing.assert_allclose(with_other.explain(films, "grad_cam"), plain.explain(films, "grad_cam"), atol=1e-5)


def test_shipped_model_is_explained_as_it_is_served() -> None:
    """Scores and Grad-CAM of a sample film equal the engine's; the device is the same."""
    explainer, engine = load_explainer(SHIPPED_MODEL), load_engine(SHIPPED_MODEL)
    manifest = explainer.manifest
    path = samples.paths()[0]
    x = stack([preprocess(read_film(path), manifest.preprocessing, manifest.input_shape)])
    served = engine.infer(x)
    np.testing.assert_allclose(explainer.scores(x), served.probabilities, atol=1e-5)
    np.testing.assert_allclose(explainer.explain(x, "grad_cam"), served.saliency, atol=1e-4)
    assert explainer.device == engine.device
