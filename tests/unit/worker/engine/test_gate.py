"""The input gate, computed by hand on a few features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ManifestMismatch, WrongShape
from tests.models import make_folded, make_manifest, write_weights
from training.export import pack
from worker.engine import gate
from worker.engine.architecture import Architecture, gate_features, lite0, seed2020, tiny
from worker.engine.keras_engine import load_engine


def make_gate(features: int = 3) -> gate.Gate:
    """Standardises by 1 and 2, scores the first feature, and knows the first direction only."""
    direction = np.eye(1, features, dtype=np.float32)
    return gate.Gate(
        mean=np.ones(features, np.float32),
        scale=np.full(features, 2, np.float32),
        weights=direction[0] * np.float32(10),
        bias=np.array([-5], np.float32),
        subspace=direction,
    )


def test_distances_by_hand() -> None:
    """(5, 3, 1) is (2, 1, 0) standardised: the score is 10 * 2 - 5, and (0, 1, 0) lies outside: 1/3."""
    film, feature = make_gate().distances(np.array([[5, 3, 1], [1, 1, 1]], np.float32))
    assert film.tolist() == [15, -5]
    assert feature.tolist() == pytest.approx([1 / 3, 0])


def test_pool_is_the_mean_over_quarters() -> None:
    """A 4 x 4 row whose quarters are 0, 1, 2, 3 in both channels."""
    row = np.kron(np.array([[0, 1], [2, 3]]), np.ones((2, 2)))[np.newaxis, :, :, np.newaxis]
    found = gate.pool(np.repeat(row, 2, axis=-1).astype(np.float32))
    assert found.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]


def test_arrays_there_and_back() -> None:
    """All five arrays, under their names; no array at all is no gate."""
    arrays = gate.to_arrays(make_gate())
    again = gate.from_arrays(arrays, 3)
    assert again is not None
    assert all(np.array_equal(getattr(again, name[5:]), array) for name, array in arrays.items())
    assert gate.from_arrays({"stem.kernel": np.zeros(3, np.float32)}, 3) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate.bias": None}, "parts"),
        ({"gate.novel": np.zeros(1, np.float32)}, "parts"),
        ({"gate.mean": np.zeros(4, np.float32)}, "gate.mean"),
        ({"gate.weights": np.full(3, np.nan, np.float32)}, "gate.weights"),
        ({"gate.scale": np.zeros(3, np.float32)}, "above 0"),
    ],
)
def test_a_gate_that_does_not_fit_is_refused(change: dict[str, np.ndarray | None], message: str) -> None:
    """A missing, unknown, misshapen, not finite or dividing-by-zero array is named."""
    arrays = {name: array for name, array in (gate.to_arrays(make_gate()) | change).items() if array is not None}
    with pytest.raises(WrongShape, match=message):
        gate.from_arrays(arrays, 3)


def test_tables_say_what_their_gate_sees() -> None:
    """Four cells of 112 channels, of 40 and of 8."""
    asked = [(lite0, "block10_add"), (lite0, "block04_add"), (tiny, "conv1_relu")]
    assert [gate_features(table(3), row) for table, row in asked] == [448, 160, 32]


@pytest.mark.parametrize(
    ("table", "row"), [(lite0, "nowhere"), (lite0, "logits"), (seed2020, "conv3_pool"), (lite0, "head_relu")]
)
def test_a_row_without_four_equal_cells_has_no_gate(table: Callable[[int], Architecture], row: str) -> None:
    """Unknown, no picture any more, of 23 pixels a side, of 7."""
    with pytest.raises(ManifestMismatch, match=row):
        gate_features(table(3), row)


def test_a_gate_and_its_row_go_together(tmp_path: Path) -> None:
    """Arrays without a row, limits or a row without arrays, and a row behind the maps' are refused, each as itself."""
    plain = make_folded()
    early, late = (plain | gate.to_arrays(make_gate(features)) for features in (32, 64))
    cases = [(early, None, "does not name"), (plain, "conv1_relu", "hold no gate"), (late, "conv2_relu", "up to")]
    for arrays, row, message in cases:
        write_weights(tmp_path, pack(arrays), gate_layer=row, target_layer="conv1_relu")
        with pytest.raises(ManifestMismatch, match=message):
            load_engine(tmp_path)


def test_an_engine_answers_with_the_distances_of_its_gate(tmp_path: Path) -> None:
    """The gate's row as the network computes it, through the gate; without one the distances are 0."""
    x = np.random.default_rng(0).random((3, 64, 64, 1), dtype=np.float32)
    judge = make_gate(32)
    write_weights(tmp_path, pack(make_folded() | gate.to_arrays(judge)), gate_layer="conv1_relu")
    answer = load_engine(tmp_path).infer(x)
    write_weights(tmp_path, pack(make_folded()))
    plain = load_engine(tmp_path).infer(x)
    assert np.allclose(answer.probabilities, plain.probabilities, atol=1e-6)
    assert plain.film_distance.tolist() == plain.feature_distance.tolist() == [0, 0, 0]
    assert len(set(answer.film_distance.tolist())) == 3
    assert (answer.feature_distance > 0).all()


def test_limits_without_a_gate_are_a_contradiction(tmp_path: Path) -> None:
    """Thresholds on distances that nothing measures would let everything pass: refused at the start."""
    limits = make_manifest().thresholds.model_copy(update={"max_film_distance": 1.0})
    write_weights(tmp_path, pack(make_folded()), thresholds=limits)
    with pytest.raises(ManifestMismatch, match="gate"):
        load_engine(tmp_path)
