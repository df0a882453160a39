"""A model knows its films by their bytes: under another name and in another split they are still the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import DataProblem
from training.dataset import Example, film_sha256
from training.export import ship
from training.fit import ignore
from training.learned import LEARNED_FILE, RECALIBRATION_FILE, check_unseen, count_known, list_learned, read_learned
from training.manifest_csv import read_manifest_csv
from training.recipes import find_recipe
from training.run import run
from training.splits import prepare
from training.synth import write_films

RECIPE = replace(find_recipe("tiny"), drawn_films=0, epochs=1, copies=0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Drawn films in two splits."""
    return write_films(tmp_path / "data", {"train": 10, "test": 2}, seed=1).parent


def test_a_run_leaves_the_digests_of_its_films(data: Path, tmp_path: Path) -> None:
    """Those learned from and those chosen by, sorted; they go along where the model is shipped."""
    run(RECIPE, data, tmp_path / "run", "2026-01-01", ignore)
    films = prepare(RECIPE, data)
    found = read_learned(tmp_path / "run")
    assert found
    assert list(found.learned_from) == sorted(film_sha256(film.path) for film in films.train)
    assert list(found.chosen_by) == sorted(film_sha256(film.path) for film in films.validation)
    ship(tmp_path / "run", tmp_path / "shipped")
    assert read_learned(tmp_path / "shipped") == found


def test_shipping_takes_nothing_of_the_model_before(data: Path, tmp_path: Path) -> None:
    """What the old one knew, or was recalibrated on, is not told of the new one."""
    run(RECIPE, data, tmp_path / "run", "2026-01-01", ignore)
    (tmp_path / "run" / LEARNED_FILE).unlink()
    (tmp_path / "shipped").mkdir()
    for name in (LEARNED_FILE, RECALIBRATION_FILE):
        (tmp_path / "shipped" / name).write_text("{}")
    ship(tmp_path / "run", tmp_path / "shipped")
    assert not {LEARNED_FILE, RECALIBRATION_FILE} & {path.name for path in (tmp_path / "shipped").iterdir()}


def test_a_copy_of_a_training_film_in_a_measured_split_stops_a_run(data: Path, tmp_path: Path) -> None:
    """The same bytes under another name, before anything is learned."""
    rows = read_manifest_csv(data / "manifest.csv")
    first, last = rows[0], rows[-1]
    assert (first.split, last.split) == ("train", "test")
    last.path.write_bytes(first.path.read_bytes())
    with pytest.raises(DataProblem, match=rf"line 37: the film {last.path.name} of split 'test' was (learned|chosen)"):
        run(RECIPE, data, tmp_path / "run", "2026-01-01", ignore)
    assert not (tmp_path / "run").exists()


def test_known_films_are_named_and_absent_ones_left_alone(data: Path, tmp_path: Path) -> None:
    """Every row that holds a known film; a film that is not there is for the reader to name."""
    films = prepare(RECIPE, data)
    known = list_learned(films).known
    moved = replace(films.validation[0], split="external", where="row 9")
    absent = Example(tmp_path / "gone.png", "normal", "g", "external", "", "row 10")
    check_unseen({"external": (absent,)}, known)
    with pytest.raises(DataProblem, match=f"^row 9: the film {moved.path.name} of split 'external' was chosen by"):
        check_unseen({"external": (absent, moved)}, known)


def test_a_record_that_is_none_is_named(tmp_path: Path) -> None:
    """By its file; without one there is nothing to tell."""
    assert read_learned(tmp_path) is None
    (tmp_path / LEARNED_FILE).write_text('{"learned_from": ["x"]}')
    with pytest.raises(DataProblem, match=r"learned_films\.json is not valid"):
        read_learned(tmp_path)


def test_known_films_are_counted(tmp_path: Path) -> None:
    """By their bytes; one that cannot be read is none of them."""
    films = [Example(tmp_path / name, "normal", name, "", "", "row") for name in ("a.png", "b.png", "absent.png")]
    for film in films[:2]:
        film.path.write_bytes(film.path.name.encode())
    assert count_known(films, {film_sha256(films[0].path): "was learned from"}) == 1
