"""The golden set: passes on the model it was made with, and names the film where anything answers otherwise."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from shared import samples
from shared.domain import Verdict
from shared.errors import GoldenMismatch, ManifestMismatch
from tests.models import make_folded, write_model
from training.golden import coarsen, make_golden, shortest, write_golden
from worker.engine.base import Engine, Inference
from worker.engine.golden import (
    SAME_TOLERANCE,
    Golden,
    GoldenFilm,
    GoldenState,
    by_sha256,
    check_golden,
    difference,
    read_golden,
)
from worker.engine.keras_engine import KerasEngine, load_engine
from worker.engine.weights import Weights, load_weights

FILMS = samples.paths()[:5]


@dataclass(frozen=True)
class Shifted:
    """An engine whose first probability is off by `by`, on a device of any name."""

    inner: Engine
    by: float
    device: str

    @property
    def manifest(self) -> object:
        """The inner engine's."""
        return self.inner.manifest

    def infer(self, x: np.ndarray) -> Inference:
        """The inner answers, moved."""
        found = self.inner.infer(x)
        return replace(found, probabilities=found.probabilities + np.array([self.by, 0, 0], np.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with its golden set on five sample films."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    write_golden(folder, FILMS)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> KerasEngine:
    """That model, loaded."""
    return load_engine(folder)


@pytest.fixture
def golden(folder: Path) -> Golden:
    """Its golden set."""
    found = read_golden(folder)
    assert found
    return found


def changed(golden: Golden, place: int, **changes: object) -> Golden:
    """The set with one film's record changed."""
    films = list(golden.films)
    films[place] = films[place].model_copy(update=changes)
    return golden.model_copy(update={"films": tuple(films)})


def test_the_model_gives_its_recorded_answers(engine: KerasEngine, golden: Golden) -> None:
    """Read back from the file, on the device that wrote it: within rounding, and the films by their digest."""
    assert check_golden(engine, golden) is GoldenState.PASSED
    assert (golden.device, golden.weights_sha256) == (engine.device, engine.manifest.weights_sha256)
    assert [film.file for film in golden.films] == [path.name for path in FILMS]
    assert [film.sha256 for film in golden.films] == list(by_sha256(FILMS))


def test_a_score_that_moved_is_named_with_its_film(engine: KerasEngine, golden: Golden) -> None:
    """Twice the tolerance on the recorded device fails, and the sentence says which film and by how much."""
    moved = dict(golden.films[3].probabilities)
    first = next(iter(moved))
    moved[first] += 2 * SAME_TOLERANCE
    with pytest.raises(GoldenMismatch, match=rf"{FILMS[3].name} is off by 2e-05; 1e-05 is allowed"):
        check_golden(engine, changed(golden, 3, probabilities=moved))


@pytest.mark.parametrize("field", ["other", "film_distance", "feature_distance"])
def test_every_recorded_number_counts(engine: KerasEngine, golden: Golden, field: str) -> None:
    """Other finding and both distances are compared like the probabilities."""
    with pytest.raises(GoldenMismatch, match=FILMS[0].name):
        check_golden(engine, changed(golden, 0, **{field: 1e-4}))


@pytest.mark.parametrize("change", [{"device": "gpu/tensorflow-9"}, {"build": "riscv64"}])
def test_elsewhere_the_stored_tolerance_counts(engine: KerasEngine, golden: Golden, change: dict[str, str]) -> None:
    """On another device or build half the stored tolerance passes, twice as much does not."""
    recorded = golden.model_copy(update=change)
    for share, is_fine in ((0.5, True), (2.0, False)):
        shifted = Shifted(engine, share * golden.tolerance, engine.device)
        if is_fine:
            assert check_golden(shifted, recorded) is GoldenState.PASSED
        else:
            with pytest.raises(GoldenMismatch, match="is off by"):
                check_golden(shifted, recorded)
    with pytest.raises(GoldenMismatch, match="is off by"):
        check_golden(Shifted(engine, 0.5 * golden.tolerance, engine.device), golden)


def test_not_a_number_is_a_mismatch(engine: KerasEngine, golden: Golden) -> None:
    """A comparison with NaN is never 'larger'; it must fail all the same."""
    with pytest.raises(GoldenMismatch, match="is off by nan"):
        check_golden(Shifted(engine, float("nan"), engine.device), golden)


def test_another_verdict_is_a_mismatch_where_it_is_steady(engine: KerasEngine, golden: Golden) -> None:
    """Elsewhere a verdict that coarser arithmetic changed as well is not demanded; here it always is."""
    wrong = next(verdict for verdict in Verdict if verdict != golden.films[1].verdict)
    elsewhere = {"device": "gpu/tensorflow-9"}
    for is_steady, is_here in ((True, True), (True, False), (False, True)):
        recorded = changed(golden, 1, verdict=wrong, is_steady=is_steady)
        with pytest.raises(GoldenMismatch, match=f"{FILMS[1].name} is called"):
            check_golden(engine, recorded if is_here else recorded.model_copy(update=elsewhere))
    loose = changed(golden, 1, verdict=wrong, is_steady=False).model_copy(update=elsewhere)
    assert check_golden(engine, loose) is GoldenState.PASSED


def test_a_set_of_another_model_is_refused(engine: KerasEngine, golden: Golden) -> None:
    """The record names its weights, and its labels are the model's."""
    with pytest.raises(GoldenMismatch, match="another model"):
        check_golden(engine, golden.model_copy(update={"weights_sha256": "0" * 64}))
    with pytest.raises(GoldenMismatch, match="other labels"):
        check_golden(engine, changed(golden, 0, probabilities={"normal": 1.0}))


def test_a_damaged_film_is_named(engine: KerasEngine, golden: Golden, tmp_path: Path) -> None:
    """Some of the films there and one changed: the samples are damaged."""
    for path in FILMS:
        shutil.copy(path, tmp_path / path.name)
    with (tmp_path / FILMS[2].name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(GoldenMismatch, match=f"{FILMS[2].name} is not among the sample films"):
        check_golden(engine, golden, sorted(tmp_path.glob("*.png")))


def test_without_a_set_or_its_films_there_is_nothing_to_say(
    engine: KerasEngine, golden: Golden, tmp_path: Path
) -> None:
    """A user's own model, and one whose films an older build shipped, are served unchecked and told as such."""
    assert read_golden(tmp_path) is None
    assert check_golden(engine, None) is GoldenState.ABSENT
    assert check_golden(engine, golden, []) is GoldenState.ABSENT


@pytest.mark.parametrize("text", ["{", '{"films": []}'])
def test_a_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    """Half a file is not 'absent'."""
    (tmp_path / "golden.json").write_text(text)
    with pytest.raises(ManifestMismatch, match=r"golden\.json"):
        read_golden(tmp_path)


def test_differences_are_relative_above_one() -> None:
    """0.1 off a probability counts as 0.1; 0.1 off a distance of -20 as 0.005."""
    film = GoldenFilm(
        file="a", sha256="0" * 64, probabilities={"a": 0.5, "b": 0.5}, other=0.0, film_distance=-20.0,
        feature_distance=0.5, verdict=Verdict.NORMAL, is_steady=True,
    )  # fmt: skip

    def seen(first: float, distance: float) -> object:
        return type("Seen", (), {
            "probabilities": np.array([first, 0.5]), "other": 0.0, "film_distance": distance, "feature_distance": 0.5,
        })  # fmt: skip

    assert difference(film, seen(0.5, -20.0)) == 0
    assert difference(film, seen(0.6, -20.0)) == pytest.approx(0.1)
    assert difference(film, seen(0.5, -20.1)) == pytest.approx(0.005)


def test_coarse_numbers_are_tf32s() -> None:
    """1 + 2^-10 is kept, 1 + 2^-11 rounds away from zero, 1 + 2^-12 to 1; signs and zeros stay."""
    values = np.array([1 + 2**-10, 1 + 2**-11, 1 + 2**-12, -(1 + 2**-11), 0.0], np.float32)
    assert coarsen(values).tolist() == [1 + 2**-10, 1 + 2**-10, 1.0, -(1 + 2**-10), 0.0]


def test_shortest_decimals_name_their_float32() -> None:
    """0.1 as float32 is written 0.1, and reading it gives the same float32."""
    values = np.random.default_rng(3).normal(size=50).astype(np.float32)
    assert shortest(float(np.float32(0.1))) == 0.1
    assert [np.float32(shortest(float(value))) for value in values] == list(values)


def test_the_tolerance_is_measured(tmp_path: Path) -> None:
    """Weights that TF32 holds exactly change nothing, which leaves the least tolerance; random ones need more."""
    manifest = write_model(tmp_path)
    weights = load_weights(tmp_path, manifest)
    exact = Weights(weights.architecture, {name: coarsen(a) for name, a in make_folded().items()}, None)
    assert make_golden(manifest, exact, FILMS).tolerance == pytest.approx(10 * SAME_TOLERANCE)
    assert make_golden(manifest, weights, FILMS).tolerance > 10 * SAME_TOLERANCE
