"""The Keras engine: one call gives calibrated scores and maps, refuses what does not fit, and loads what ships."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from shared import samples
from shared.errors import ManifestMismatch, WrongShape
from shared.imaging.preprocess import prepare, stack
from shared.verdict import assess, calibrate
from tests.models import make_folded, write_model
from training.dataset import read_film
from worker.engine import SHIPPED_MODEL, keras_engine
from worker.engine.architecture import folded, lite0, tiny
from worker.engine.base import Inference
from worker.engine.keras_engine import KerasEngine, fill_up, load_engine
from worker.engine.keras_network import build_halves, build_whole, set_arrays
from worker.engine.quality import degenerate_reason


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> KerasEngine:
    """A `tiny` engine with random weights and a temperature."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, temperature=2.5)
    return load_engine(folder)


@pytest.fixture(scope="module")
def shipped() -> KerasEngine:
    """The model that ships."""
    return load_engine(SHIPPED_MODEL)


def make_inputs(count: int) -> np.ndarray:
    """Random inputs (count, 64, 64, 1) in [0, 1]."""
    return np.random.default_rng(3).random((count, 64, 64, 1), np.float32)


def test_scores_are_the_networks_logits_at_the_manifests_temperature(engine: KerasEngine) -> None:
    """Probabilities are softmax(logits / temperature) of the network built from the same table."""
    network = build_whole(folded(tiny(3)))
    set_arrays((network,), folded(tiny(3)), make_folded())
    x = make_inputs(4)
    expected = calibrate(network(x).numpy(), 2.5)
    np.testing.assert_allclose(engine.infer(x).probabilities, expected, atol=1e-6)


def test_answer_has_the_promised_shapes_and_ranges(engine: KerasEngine) -> None:
    """(N, K) float32 that sum to 1, and (N, h, w) float32 in [0, 1]."""
    answer = engine.infer(make_inputs(5))
    assert answer.probabilities.shape == (5, 3)
    assert answer.probabilities.dtype == answer.saliency.dtype == np.float32
    np.testing.assert_allclose(answer.probabilities.sum(axis=1), 1, atol=1e-6)
    assert answer.saliency.shape == (5, 8, 8)
    assert answer.saliency.min() >= 0
    assert answer.saliency.max() <= 1


def test_a_film_scores_the_same_alone_and_in_a_batch(engine: KerasEngine) -> None:
    """Batching changes neither scores nor maps beyond rounding."""
    x = make_inputs(7)
    together = engine.infer(x)
    for place in range(7):
        alone = engine.infer(x[place : place + 1])
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[place], atol=1e-5)
        np.testing.assert_allclose(alone.saliency[0], together.saliency[place], atol=1e-4)


@pytest.mark.parametrize(("films", "filled"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (27, 32), (33, 64)])
def test_a_batch_is_filled_up_with_black_films(films: int, filled: int) -> None:
    """To the next power of two; its own films come first, and a full one is left alone."""
    x = make_inputs(films)
    found = fill_up(x)
    assert found.shape == (filled, 64, 64, 1)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:films], x)
    assert not found[films:].any()
    assert (found is x) == (films == filled)


def test_filled_batches_are_answered_for_their_own_films_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU serves: all answers of as many rows as films came, equal to those of batches as they are."""
    write_model(tmp_path, temperature=2.5)
    plain = load_engine(tmp_path)
    monkeypatch.setattr(keras_engine, "claim_device", lambda: "gpu/tensorflow-test")
    filling = load_engine(tmp_path)
    x = make_inputs(5)
    assert filling.device == "gpu/tensorflow-test"
    found, expected = filling.infer(x), plain.infer(x)
    for answer in fields(found):
        mine, theirs = getattr(found, answer.name), getattr(expected, answer.name)
        assert len(mine) == 5
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_gpu_meets_every_size_of_batch_before_its_first_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The powers of two up to its limit; a CPU, which does not care, meets one film."""
    write_model(tmp_path)
    met: list[int] = []
    infer = KerasEngine.infer

    def note(self: KerasEngine, x: np.ndarray) -> Inference:
        met.append(len(x))
        return infer(self, x)

    monkeypatch.setattr(KerasEngine, "infer", note)
    load_engine(tmp_path)
    assert met == [1]
    monkeypatch.setattr(keras_engine, "claim_device", lambda: "gpu/tensorflow-test")
    load_engine(tmp_path)
    assert met == [1, 1, 2, 4, 8, 16, 32]


def test_a_gpu_computes_float32_in_full_and_takes_memory_as_it_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's own choice is TF32 and all of the memory; what it is told is what is asked of it here."""
    told: dict[str, object] = {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    monkeypatch.setattr(tf.config.experimental, "get_memory_growth", lambda _gpu: False)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: told.update({gpu: on}))
    monkeypatch.setattr(
        tf.config.experimental, "enable_tensor_float_32_execution", lambda on: told.update({"tf32": on})
    )
    assert keras_engine.claim_device() == f"gpu/tensorflow-{tf.__version__}"
    assert told == {"GPU": True, "tf32": False}


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 64, 32, 1), np.float32),
        np.zeros((64, 64, 1), np.float32),
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((0, 64, 64, 1), np.float32),
        np.zeros((1, 64, 64, 1), np.float64),
    ],
    ids=["size", "no batch", "colour", "empty", "type"],
)
def test_input_of_another_shape_is_refused(engine: KerasEngine, x: np.ndarray) -> None:
    """The network is never run on what it was not built for."""
    with pytest.raises(WrongShape):
        engine.infer(x)


def test_device_names_kind_and_build(engine: KerasEngine) -> None:
    """The device string is stored with each result."""
    assert engine.device.split("/") in (
        ["cpu", f"tensorflow-{tf.__version__}"],
        ["gpu", f"tensorflow-{tf.__version__}"],
    )


def test_network_is_not_cut_inside_a_residual() -> None:
    """A cut that an Add reaches across is refused by name; so is a row that is not there, and a lone Add."""
    with pytest.raises(ManifestMismatch, match="block02_add"):
        build_halves(lite0(3), "block02_expand")
    with pytest.raises(ManifestMismatch, match="'nowhere'"):
        build_halves(lite0(3), "nowhere")


def test_in_bf16_the_first_rows_stay_in_f32() -> None:
    """Those that the table names, in whichever half they are; unless asked for, all do."""
    for precision, behind in (("f32", "float32"), ("bf16", "bfloat16")):
        trunk, head = build_halves(lite0(3), "block04_add", precision)  # type: ignore[arg-type]
        assert trunk.get_layer("block01_project").compute_dtype == "float32"
        assert trunk.get_layer("block02_expand").compute_dtype == behind
        assert trunk.get_layer("block04_add").compute_dtype == behind
        assert head.get_layer("logits").compute_dtype == behind


def test_shipped_model_is_small_and_says_what_it_is_for(shipped: KerasEngine) -> None:
    """At most 16 MB, the study's labels, research use, and measured on films it never learned from."""
    assert sum((SHIPPED_MODEL / name).stat().st_size for name in ("weights.npz", "int8.npz")) <= 16e6
    assert shipped.manifest.labels == ("covid19", "normal", "viral_pneumonia")
    assert shipped.manifest.notice == "research use; not a medical device"
    assert {"test", "test_adult", "external", "ood"} <= shipped.manifest.metrics.keys()


def test_shipped_model_leans_to_the_samples_classes(shipped: KerasEngine) -> None:
    """Each of the twelve leans to its class, gets the verdict their readme tells, and a map that says something."""
    manifest = shipped.manifest
    films = samples.paths()
    inputs = [prepare(read_film(path), manifest.preprocessing, manifest.input_shape) for path in films]
    answer = shipped.infer(stack([film.values for film in inputs]))
    verdicts = [assess(answer.evidence(place, film), manifest).verdict for place, film in enumerate(inputs)]
    classes = [path.stem.rpartition("_")[0] for path in films]
    leaders = [manifest.labels[place] for place in answer.probabilities.argmax(axis=1)]
    assert leaders == classes
    assert all(told in {own, "uncertain"} for told, own in zip(verdicts, classes, strict=True))
    readme = films[0].with_name("README.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (\S+\.png) \|.*\| (\w+) \| \d+ \|$", readme, re.MULTILINE)
    assert told == [(path.name, verdict.value) for path, verdict in zip(films, verdicts, strict=True)]
    assert len(films) == 12
    assert not any(degenerate_reason(values) for values in answer.saliency)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_blank_film_is_not_assessable(shipped: KerasEngine, grey: int) -> None:
    """A film without contrast gets no label, whatever the scores are."""
    manifest = shipped.manifest
    film = prepare(np.full((300, 300), grey, np.uint8), manifest.preprocessing, manifest.input_shape)
    evidence = shipped.infer(stack([film.values])).evidence(0, film)
    assert assess(evidence, manifest).verdict == "not_assessable"
