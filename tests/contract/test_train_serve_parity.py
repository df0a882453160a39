"""Training and serving are one: what `plainfilm train` measured is what the loaded engine answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.imaging.preprocess import preprocess, stack
from shared.manifest import read_manifest
from shared.verdict import calibrate
from training.dataset import read_film
from training.evaluate import ask, measure
from training.export import export
from training.fit import fit, ignore
from training.recipes import find_recipe
from training.run import run
from training.splits import TrainingData, find_examples, prepare
from training.state import FitResult
from training.synth import write_films
from worker.engine.keras_engine import KerasEngine, load_engine
from worker.engine.keras_network import build_whole, set_arrays

RECIPE = find_recipe("tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Drawn films, split."""
    folder = tmp_path_factory.mktemp("films")
    write_films(folder, {"train": RECIPE.drawn_films}, RECIPE.seed)
    return prepare(RECIPE, folder)


@pytest.fixture(scope="module")
def result(data: TrainingData) -> FitResult:
    """A fitted `tiny` network."""
    return fit(RECIPE, data)


@pytest.fixture(scope="module")
def engine(result: FitResult, tmp_path_factory: pytest.TempPathFactory) -> KerasEngine:
    """The engine of the exported model."""
    folder = tmp_path_factory.mktemp("model")
    export(result, folder, "1", "2026-01-01")
    return load_engine(folder)


def test_served_scores_are_the_trained_networks(data: TrainingData, result: FitResult, engine: KerasEngine) -> None:
    """fit, export, load: the probabilities are those of the network that was trained, BatchNorm unfolded."""
    network = build_whole(result.architecture)
    set_arrays((network,), result.architecture, result.arrays)
    films = [read_film(example.path) for example in data.validation]
    x = stack([preprocess(film, RECIPE.preprocessing, result.architecture.input_shape) for film in films])
    expected = calibrate(network(x, training=False).numpy(), result.temperature)
    np.testing.assert_allclose(engine.infer(x).probabilities, expected, atol=1e-5)


def test_learning_learned(data: TrainingData, result: FitResult, engine: KerasEngine) -> None:
    """On drawn films of other groups the served model is nearly always right, and the history says what was kept."""
    measured = measure(ask(engine, data.validation, ignore), RECIPE.labels)
    assert measured.accuracy is not None
    assert measured.accuracy.value >= 0.9
    assert measured.coverage.value >= 0.8
    kept = result.history[result.kept_epoch - 1]
    assert kept.validation_loss == min(epoch.validation_loss for epoch in result.history)
    assert kept.validation_accuracy == pytest.approx(measured.accuracy.value)


def test_whole_run_measures_what_it_exported(tmp_path: Path) -> None:
    """`run` leaves a model whose manifest carries the numbers that the engine gives again, and figures."""
    done = run(RECIPE, tmp_path / "unused", tmp_path / "out", "2026-01-01", ignore)
    engine = load_engine(tmp_path / "out")
    films = [e for e in find_examples(RECIPE, tmp_path / "out" / "films") if e.split == "test"]
    assert read_manifest(tmp_path / "out") == done.manifest == engine.manifest
    assert done.manifest.metrics["test"] == measure(ask(engine, films, ignore), RECIPE.labels)
    assert {"curves.png", "confusion_test.png", "history.csv", "recipe.json"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
