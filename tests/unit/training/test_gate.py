"""Pictures that are no films, and a gate that learned to tell them: on drawn films, through a whole small run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import DataProblem
from shared.imaging.preprocess import prepare as prepare_film
from shared.imaging.preprocess import stack
from shared.verdict import assess
from training import negatives
from training.dataset import read_film
from training.export import export
from training.fit import fit
from training.gate import fit_gate
from training.recipes import find_recipe
from training.splits import TrainingData, prepare
from training.state import FitResult
from training.synth import write_films
from worker.engine.keras_engine import load_engine

RECIPE = replace(
    find_recipe("tiny"),
    name="tiny-gated",
    other_label="other_finding",
    gate_layer="conv1_relu",
    frozen_until="conv1_bn",
    balance="shares",
    pool_shares={"drawn tuberculosis": 1.5},
    calibration_copies=1,
    epochs=30,
)
LABELS = (*RECIPE.labels, "tuberculosis")
FILM = np.random.default_rng(0).random((224, 224), dtype=np.float32)


@pytest.mark.parametrize("spoil", negatives.SPOILS, ids=lambda way: way.__name__)
def test_spoiled_films_keep_size_and_range(spoil: negatives.Spoil) -> None:
    """(224, 224) again, of the film's own grey values, and not the film."""
    found = spoil(FILM, np.random.default_rng(1))
    assert found.shape == (224, 224)
    assert np.abs(found - FILM).mean() > 0.1
    assert -0.3 < float(found.min()) <= float(found.max()) < 1.3


def test_shuffled_parts_are_all_there() -> None:
    """The same pixels in another place."""
    found = negatives.shuffle(FILM, np.random.default_rng(2))
    assert np.array_equal(np.sort(found.ravel()), np.sort(FILM.ravel()))


def test_drawn_pictures_are_noise_and_text_by_turns() -> None:
    """Twelve pictures, two of them pages: mostly white, with some black."""
    drawn = list(negatives.draw_nothing(12, 224, np.random.default_rng(3)))
    pages = [place for place, picture in enumerate(drawn) if np.median(picture) == 1]
    assert len(drawn) == 12
    assert pages == [0, 6]


def test_a_gate_tells_two_clouds_of_features() -> None:
    """Features around 0 are films, around 3 are not; the distance grows outside the films' plane."""
    rng = np.random.default_rng(4)
    films = (rng.normal(0, 1, (400, 3)) @ rng.normal(0, 1, (3, 80))).astype(np.float32)
    others = films[:200] + np.float32(3)
    gate = fit_gate(films, others)
    score, outside = gate.distances(films)
    assert (score < gate.distances(others)[0][:, np.newaxis].min()).mean() > 0.95
    assert outside.max() < 1e-3
    assert gate.distances(films + rng.normal(0, 1, films.shape).astype(np.float32))[1].min() > outside.max()


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FitResult]:
    """A small model with all four outputs and a gate, and its films."""
    folder = tmp_path_factory.mktemp("gated")
    write_films(folder, {"train": 40, "test": 20}, 5, LABELS)
    result = fit(RECIPE, prepare(RECIPE, folder))
    export(result, folder / "model", "1", "2026-01-01")
    return folder, result


def verdicts(folder: Path, films: list[np.ndarray]) -> list[tuple[str, tuple[str, ...]]]:
    """Verdict and reasons of each film by the exported model."""
    engine = load_engine(folder / "model")
    manifest = engine.manifest
    inputs = [prepare_film(film, manifest.preprocessing, manifest.input_shape) for film in films]
    answer = engine.infer(stack([film.values for film in inputs]))
    found = [assess(answer.evidence(place, film), manifest) for place, film in enumerate(inputs)]
    return [(item.verdict.value, item.reasons) for item in found]


def read_split(folder: Path, split: str, label: str) -> list[np.ndarray]:
    """The drawn films of one split and label."""
    rows = [line.split(",") for line in (folder / "manifest.csv").read_text().splitlines()[1:]]
    return [read_film(folder / row[0]).astype(np.uint8) for row in rows if (row[3], row[1]) == (split, label)]


def test_an_other_finding_is_not_given_a_label(learned: tuple[Path, FitResult]) -> None:
    """Of fresh drawn films with an other finding few get a label; of the labels' films most get theirs."""
    folder, _ = learned
    others = verdicts(folder, read_split(folder, "test", "tuberculosis"))
    assert sum(verdict in RECIPE.labels for verdict, _ in others) <= 4
    assert any("other_finding" in reasons for _, reasons in others)
    for label in RECIPE.labels:
        ours = [verdict for verdict, _ in verdicts(folder, read_split(folder, "test", label))]
        assert ours.count(label) >= 12


def test_what_is_no_film_is_not_assessable(learned: tuple[Path, FitResult]) -> None:
    """Noise and text get no verdict at all from the exported model."""
    folder, _ = learned
    drawn = [np.rint(p * 255).astype(np.uint8) for p in negatives.draw_nothing(24, 224, np.random.default_rng(9))]
    assert {verdict for verdict, _ in verdicts(folder, drawn)} == {"not_assessable"}


def test_the_gates_arrays_travel_with_the_weights(learned: tuple[Path, FitResult]) -> None:
    """The manifest's limits and the exported gate are those that were learned."""
    folder, result = learned
    engine = load_engine(folder / "model")
    assert result.gate is not None
    assert engine.manifest.thresholds == result.thresholds
    assert engine.manifest.other_label == "other_finding"
    assert result.thresholds.max_film_distance is not None


def test_a_gate_on_a_row_that_is_not_stored_is_refused() -> None:
    """A row before the last frozen one is gone when the gate is learned: said before training."""
    with pytest.raises(DataProblem, match="frozen_until"):
        fit(replace(RECIPE, gate_layer="conv1_relu", frozen_until="conv2"), TrainingData((), ()))
