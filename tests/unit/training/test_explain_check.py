"""The checks of explanations, on nets and maps made by hand; the other library itself is asked by hand only."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from shared import samples
from shared.errors import DataProblem, Unavailable
from tests.models import make_folded, write_model
from training import explain_agreement
from training.explain_agreement import ask_peer, check_agreement, install_peer
from training.explain_check import STAGES, check_sanity, compare, read_films, shuffle
from worker.engine.architecture import folded, tiny
from worker.engine.explain import METHODS
from worker.engine.keras_explainer import KerasExplainer, load_explainer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `tiny` table and random weights."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    return folder


@pytest.fixture(scope="module")
def explainer(model: Path) -> KerasExplainer:
    """Its explainer."""
    return load_explainer(model)


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    """Three random inputs (3, 64, 64, 1)."""
    return np.random.default_rng(3).random((3, 64, 64, 1), np.float32)


LABELS = np.array([0, 1, 1])


def enlarge(values: np.ndarray) -> np.ndarray:
    """(8, 8) or (64, 64) maps as the library gives them: at the input's size, in any unit."""
    return 7 * np.stack([explain_agreement._enlarge(one, (64, 64)) for one in values])


def test_the_same_maps_agree_and_others_do_not(explainer: KerasExplainer, films: np.ndarray) -> None:
    """Our own maps in another unit agree in all five; a map with one changed film does not, and only that one."""
    theirs = {method: enlarge(explainer.explain(films, method, LABELS, 1)) for method in METHODS}
    found = check_agreement(explainer, films, LABELS, theirs, 1)
    assert [row.method for row in found] == list(METHODS)
    for row in found:
        assert row.agrees
        assert row.least_rank_correlation == pytest.approx(1)
        assert row.largest_difference < 1e-5
    theirs["gradient"][2] = theirs["gradient"][2][::-1]
    changed = check_agreement(explainer, films, LABELS, theirs, 1)
    assert [row.method for row in changed if not row.agrees] == ["gradient"]


def test_one_wrong_pixel_is_seen(explainer: KerasExplainer, films: np.ndarray) -> None:
    """Ranks hardly change, the largest difference does."""
    theirs = {method: enlarge(explainer.explain(films, method, LABELS, 1)) for method in METHODS}
    theirs["smooth_grad"][1, 5, 5] += 0.1 * theirs["smooth_grad"][1].max()
    found = {row.method: row for row in check_agreement(explainer, films, LABELS, theirs, 1)}
    assert found["smooth_grad"].mean_rank_correlation > 0.99
    assert not found["smooth_grad"].agrees


def test_shuffle_goes_from_the_last_row_down() -> None:
    """Share 0 changes the last row only, 1 all of them; each array keeps its numbers."""
    table, arrays = folded(tiny(3)), make_folded()
    for share, changed in (
        (0.0, {"logits"}),
        (0.5, {"late_bn", "logits"}),
        (1.0, {"conv1", "conv2", "late_bn", "logits"}),
    ):
        mixed = shuffle(table, arrays, share, np.random.default_rng(1))
        differing = {name.partition(".")[0] for name in arrays if not np.array_equal(mixed[name], arrays[name])}
        assert differing == changed
        for name, array in arrays.items():
            np.testing.assert_array_equal(np.sort(mixed[name], axis=None), np.sort(array, axis=None))
            assert mixed[name].shape == array.shape


def test_shuffled_network_explains_otherwise(model: Path, explainer: KerasExplainer, films: np.ndarray) -> None:
    """One row a stage and method; the gradient of a wholly shuffled network is not that of the trained one."""
    rows = check_sanity(model, explainer, films, LABELS, seed=1)
    assert [(row.shuffled, row.method) for row in rows] == [(s, m) for s, _ in STAGES for m in METHODS]
    last = {row.method: row for row in rows if row.shuffled == "all rows"}
    assert last["gradient"].compared == 3
    assert last["gradient"].mean_rank_correlation is not None
    assert abs(last["gradient"].mean_rank_correlation) < 0.9


def test_areas_are_given_for_each_label_and_method(explainer: KerasExplainer, films: np.ndarray) -> None:
    """Every method and LIME, for each label that was explained, with the films counted; areas are probabilities."""
    rows = compare(explainer, films, LABELS, seed=1)
    assert {(row.label, row.films) for row in rows} == {("covid19", 1), ("normal", 2)}
    assert [row.method for row in rows] == [*METHODS, "lime"] * 2
    for row in rows:
        assert min(row.deletion_auc, row.insertion_auc, row.random_auc, row.empty_film) >= 0
        assert max(row.deletion_auc, row.insertion_auc, row.random_auc, row.empty_film) <= 1


def test_films_of_a_folder_are_read_in_order(explainer: KerasExplainer, tmp_path: Path) -> None:
    """PNG files by name, whatever else lies beside them; an empty folder is refused."""
    with pytest.raises(DataProblem, match="no PNG or JPEG"):
        read_films(tmp_path, explainer)
    for path in samples.paths()[:2]:
        shutil.copy(path, tmp_path)
    (tmp_path / "README.md").write_text("films")
    found = read_films(tmp_path, explainer)
    assert found.shape == (2, 64, 64, 1)
    assert found.dtype == np.float32


def test_library_is_installed_once(tmp_path: Path) -> None:
    """A folder that has it is used as it is."""
    (tmp_path / "xplique").mkdir()
    assert install_peer(tmp_path) == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["xplique"]


def test_a_library_that_is_not_there_is_named(model: Path, films: np.ndarray, tmp_path: Path) -> None:
    """The other process fails: so does the check, in words."""
    with pytest.raises(Unavailable, match="could not explain"):
        ask_peer(model, films, LABELS, tmp_path, seed=1)
