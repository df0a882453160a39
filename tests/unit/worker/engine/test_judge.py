"""Judging maps of a model made by hand: its score is known, so are the areas under its curves."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from shared.errors import InvalidRequest, WrongShape
from shared.manifest import ModelManifest
from tests.models import make_manifest
from worker.engine.explain import METHODS, Labels, Parameters, parameters_for
from worker.engine.judge import (
    GRID,
    SECOND,
    STEPS,
    MapQuality,
    area,
    block_means,
    judge,
    take_away,
    to_json,
)

SIDE = 32
SPOT = (slice(8, 12), slice(20, 24))
"""2 x 2 of the 16 x 16 blocks: 4 of 256, gone in the first of 16 steps if they go first."""


@dataclass(frozen=True, slots=True)
class SpotModel:
    """The score of label 1 is the brightness of one spot; the map of every method is what `shown` says."""

    shown: np.ndarray
    manifest: ModelManifest
    device: str = "cpu/none"

    def scores(self, x: np.ndarray) -> np.ndarray:
        """(N, 3): the spot's mean for label 1, the rest for label 0."""
        spot = x[:, SPOT[0], SPOT[1], 0].mean(axis=(1, 2))
        return np.stack([1 - spot, spot, np.zeros_like(spot)], axis=1)

    def explain(
        self,
        x: np.ndarray,
        method: str,
        labels: Labels | None = None,  # noqa: ARG002 - the port's
        seed: int = 0,  # noqa: ARG002 - likewise
        parameters: Parameters | None = None,
    ) -> np.ndarray:
        """The given map, with the film's own brightness added, so that noise moves it a little."""
        parameters_for(method, parameters)
        return np.stack([self.shown + 0.05 * film[..., 0] for film in x])


@pytest.fixture
def x() -> np.ndarray:
    """A black film with random grain and a white spot, (32, 32, 1)."""
    film = np.random.default_rng(1).random((SIDE, SIDE, 1), np.float32) * np.float32(0.2)
    film[SPOT] = 1
    return film


@pytest.fixture
def marking() -> np.ndarray:
    """The map that marks the spot and nothing else."""
    values = np.zeros((SIDE, SIDE), np.float32)
    values[SPOT] = 1
    return values


def ask(x: np.ndarray, values: np.ndarray, seed: int = 3) -> MapQuality:
    """Judge `values` as a gradient map of label 1."""
    return judge(SpotModel(values, make_manifest()), x, values, "gradient", 1, seed)


def test_map_of_the_only_pixels_that_count_is_far_from_random(x: np.ndarray, marking: np.ndarray) -> None:
    """After one of 16 steps the spot is gone (grey m) or shown (1): areas m + (1 - m) / 32 and 1 - that of (1 - m)."""
    found = ask(x, marking)
    grey = float(x.mean())
    assert found.deletion == pytest.approx((1.0, *[grey] * STEPS), abs=1e-6)
    assert found.insertion == pytest.approx((grey, *[1.0] * STEPS), abs=1e-6)
    assert found.deletion_auc == pytest.approx(grey + (1 - grey) / 32)
    assert found.insertion_auc == pytest.approx(1 - (1 - grey) / 32)
    assert found.deletion_auc < found.random_auc - 0.25 < found.insertion_auc - 0.5
    assert found.deletion_auc < found.random_least <= found.random_auc <= found.random_most < found.insertion_auc
    assert found.random_auc == pytest.approx((1 + grey) / 2, abs=0.15)


def test_map_that_marks_all_but_what_counts_is_worse_than_random(x: np.ndarray, marking: np.ndarray) -> None:
    """The reverse order has the areas the other way round."""
    found = ask(x, 1 - marking)
    assert found.deletion_auc > found.random_auc > found.insertion_auc


def test_a_map_that_knows_nothing_rarely_beats_all_random_orders(x: np.ndarray) -> None:
    """One time in twenty by chance, in deletion as in insertion; beside their mean it would be every other time."""
    rng = np.random.default_rng(11)
    found = [ask(x, rng.random((SIDE, SIDE), np.float32), seed) for seed in range(100)]
    assert sum(one.deletion_auc < one.random_least for one in found) <= 12
    assert sum(one.insertion_auc > one.random_most for one in found) <= 12
    assert sum(one.deletion_auc < one.random_auc for one in found) > 30


def test_constant_map_is_judged_as_a_random_order(x: np.ndarray) -> None:
    """No block goes first: over many draws its area is that of chance."""
    grey = float(x.mean())
    rng = np.random.default_rng(0)
    model = SpotModel(np.ones((7, 7)), make_manifest())
    flat = np.ones((GRID, GRID), np.float32)
    areas = [area(take_away(lambda films: model.scores(films)[:, 1], x, flat, rng)) for _ in range(200)]
    assert np.mean(areas) == pytest.approx((1 + grey) / 2, abs=0.03)


def test_each_step_takes_a_sixteenth_of_the_film(x: np.ndarray, marking: np.ndarray) -> None:
    """Step k leaves 16 - k sixteenths of the pixels as they were; the last leaves grey alone."""
    seen: list[np.ndarray] = []

    def look(films: np.ndarray) -> np.ndarray:
        seen.append(films)
        return np.zeros(len(films), np.float32)

    take_away(look, x, block_means(marking), np.random.default_rng(0))
    films = seen[0]
    assert films.shape == (STEPS + 1, SIDE, SIDE, 1)
    assert films.dtype == np.float32
    same = (films == x).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(same, 1 - np.arange(STEPS + 1) / STEPS)
    np.testing.assert_allclose(films[-1], x.mean())


@pytest.mark.parametrize("side", [200, 224, 33])
def test_blocks_are_of_equal_size_to_a_pixel(side: int) -> None:
    """A film whose side is no multiple of 16 is cut into blocks of two sizes that differ by a pixel."""
    film = np.random.default_rng(2).random((side, side, 1), np.float32)
    seen: list[np.ndarray] = []

    def look(films: np.ndarray) -> np.ndarray:
        seen.append(films)
        return np.zeros(len(films), np.float32)

    first = np.zeros((GRID, GRID), np.float32)
    first[:, 5] = 1
    take_away(look, film, first, np.random.default_rng(0))
    gone = np.flatnonzero((seen[0][1] != film).any(axis=(0, 2)))
    assert len(gone) in (side // GRID, side // GRID + 1)
    assert gone[-1] - gone[0] + 1 == len(gone)


def test_seed_decides_everything(x: np.ndarray, marking: np.ndarray) -> None:
    """The same seed gives the same numbers; another one other random orders and noises."""
    assert ask(x, marking, 5) == ask(x, marking, 5)
    other = ask(x, marking, 6)
    assert other.random_auc != ask(x, marking, 5).random_auc
    assert other.stability != ask(x, marking, 5).stability
    assert other.deletion == ask(x, marking, 5).deletion


def test_agreement_compares_with_the_second_method(x: np.ndarray) -> None:
    """A map that ranks the blocks as the other method's does agrees fully, its negative not at all."""
    ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE) / 100).astype(np.float32) / SIDE
    model = SpotModel(ramp, make_manifest())
    found = judge(model, x, ramp + 0.05 * x[..., 0], "gradient", 1, 3)
    assert found.second_method == "grad_cam"
    assert found.agreement == pytest.approx(1)
    opposite = judge(model, x, 2 - ramp - 0.05 * x[..., 0], "gradient", 1, 3)
    assert opposite.agreement == pytest.approx(-1)


def test_stability_is_lost_where_noise_is_all_there_is(x: np.ndarray) -> None:
    """A map with a strong order of its own is stable; one that is only the film's grain is less so."""
    ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE) / 100).astype(np.float32)
    steady = judge(SpotModel(ramp, make_manifest()), x, ramp + 0.05 * x[..., 0], "gradient", 1, 3)
    grain = judge(SpotModel(0 * ramp, make_manifest()), x, 0.05 * x[..., 0], "gradient", 1, 3)
    assert steady.stability == pytest.approx(1, abs=1e-3)
    assert grain.stability is not None
    assert 0.5 < grain.stability < 0.99


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((SIDE, SIDE)), "all_zero"),
        (np.ones((SIDE, SIDE)), "constant"),
        (np.full((SIDE, SIDE), np.nan), "not_finite"),
        (np.eye(1, SIDE * SIDE).reshape(SIDE, SIDE), "one_corner"),
    ],
)
def test_degenerate_maps_are_judged_too(x: np.ndarray, values: np.ndarray, reason: str) -> None:
    """A map that says nothing gets its reason and finite numbers; what has no order has no agreement."""
    model = SpotModel(np.zeros((SIDE, SIDE)), make_manifest())
    found = judge(model, x, values.astype(np.float32), "gradient", 1, 3)
    assert found.is_degenerate
    assert found.degenerate_reason == reason
    assert np.isfinite([found.deletion_auc, found.insertion_auc, found.random_auc]).all()
    assert (found.agreement is None) == (found.stability is None) == (reason != "one_corner")


def test_quality_is_plain_json(x: np.ndarray, marking: np.ndarray) -> None:
    """As JSON text and back it holds the same fields; also where there is no agreement."""
    found = ask(x, marking)
    without = replace(found, agreement=None, stability=None, degenerate_reason="constant", is_degenerate=True)
    for quality in (found, without):
        fields = json.loads(json.dumps(to_json(quality), allow_nan=False))
        assert fields == to_json(quality)
        curves = {name: tuple(fields[name]) for name in ("deletion", "insertion")}
        assert MapQuality(**fields | curves) == quality


def test_every_method_has_a_second_of_the_other_kind() -> None:
    """Methods on features are compared with one on pixels, and the other way round."""
    for method in METHODS:
        assert method.startswith("grad_cam") != SECOND[method].startswith("grad_cam")


def test_unknown_method_is_refused(x: np.ndarray, marking: np.ndarray) -> None:
    """No map of a method that is not there."""
    with pytest.raises(InvalidRequest):
        judge(SpotModel(marking, make_manifest()), x, marking, "lime", 1, 3)


def test_map_of_another_size_is_refused(x: np.ndarray, marking: np.ndarray) -> None:
    """The map judged is one the method could have made."""
    with pytest.raises(WrongShape):
        judge(SpotModel(marking, make_manifest()), x, marking[:7, :7], "gradient", 1, 3)


def test_area_is_the_trapezoid_rule() -> None:
    """0, 1, 0 over two intervals: 1/2."""
    assert area(np.array([0.0, 1.0, 0.0])) == pytest.approx(0.5)


def test_blocks_of_a_map_are_its_means() -> None:
    """Each block of a fine map is the mean of its pixels; a coarse map is drawn out smoothly and keeps its order."""
    fine = np.random.default_rng(4).random((64, 64), np.float32)
    expected = fine.reshape(GRID, 4, GRID, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(block_means(fine), expected, rtol=1e-5)
    coarse = np.zeros((7, 7), np.float32)
    coarse[2, 4] = 1
    assert np.unravel_index(block_means(coarse).argmax(), (GRID, GRID)) in [(5, 10), (5, 9), (6, 10)]
