"""Cross-validation: documents worked out by hand, and real turns on drawn films that are cut off and go on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.errors import DataProblem
from shared.model_report import CrossValidation
from training.fit import ignore
from training.metrics import wilson
from training.recipe import LABELS, Recipe
from training.recipes import find_recipe
from training.report.crossval import shorten, summarise_folds, summarise_source
from training.report.crossval_command import crossval
from training.report.folds import Turn, make_folds, make_sources
from training.report.turns import FilmPrediction, TurnResult, run_turns
from training.splits import find_examples
from training.synth import write_films

SHORT = replace(find_recipe("tiny"), drawn_films=0, epochs=2, copies=1)


def make_result(*films: tuple[str, str, bool], labels: tuple[str, ...] = LABELS, name: str = "x") -> TurnResult:
    """What a turn said of films: (label, choice, has a verdict)."""
    said = [
        FilmPrediction(file="f", label=label, group=str(place), choice=choice, probability=0.9, has_verdict=verdict)
        for place, (label, choice, verdict) in enumerate(films, start=len(name) * 100)
    ]
    return TurnResult(plan="", name=name, labels=list(labels), kept_epoch=1, seconds=1.0, films=said)


COVID, NORMAL, VIRAL = LABELS


def test_folds_are_summed_by_hand() -> None:
    """2 of 3 and 3 of 3 right: 5 of 6; F1 per label 4/5 (COVID-19), 1, 2/3; the confusion counts every film once."""
    results = [
        make_result((COVID, COVID, True), (NORMAL, NORMAL, True), (VIRAL, COVID, False)),
        make_result((COVID, COVID, False), (NORMAL, NORMAL, True), (VIRAL, VIRAL, True), name="second"),
    ]
    found = summarise_folds(results, LABELS, "tiny", "6 films")
    assert found.accuracy == wilson(5, 6)
    assert found.confusion == [[2, 0, 0], [0, 2, 0], [1, 0, 1]]
    assert [(fold.fold, fold.accuracy) for fold in found.folds] == [(1, wilson(2, 3)), (2, wilson(3, 3))]
    first = found.folds[0].macro_f1
    assert (first.value, first.n) == (pytest.approx((2 / 3 + 1 + 0) / 3), 3)
    assert first.low < first.value < first.high
    assert found.macro_f1.value == pytest.approx((4 / 5 + 1 + 2 / 3) / 3)
    assert found.macro_f1.low <= found.macro_f1.value <= found.macro_f1.high
    assert found.macro_f1.n == 6
    viral = found.by_label[VIRAL]
    assert (viral.precision, viral.recall) == (wilson(1, 1), wilson(1, 2))
    assert viral.f1.value == pytest.approx(2 / 3)
    assert found.by_label[COVID].precision == wilson(2, 3)


def test_a_source_is_told_by_label() -> None:
    """2 of 3 recognised, 1 of 3 given a verdict."""
    result = make_result((COVID, COVID, True), (COVID, NORMAL, False), (COVID, COVID, False), name="covA")
    (row,) = summarise_source(result, "tiny, epochs 2 instead of 8")
    assert row.recipe == "tiny, epochs 2 instead of 8"
    assert (row.pool, row.label) == ("covA", COVID)
    assert (row.recall, row.coverage) == (wilson(2, 3), wilson(1, 3))


def test_a_label_that_was_not_learned_has_no_recall() -> None:
    """Whatever is chosen cannot be right; how often a verdict is given can be told."""
    result = make_result(("tuberculosis", COVID, True), (VIRAL, NORMAL, False), labels=(COVID, NORMAL))
    rows = {row.label: row for row in summarise_source(result, "tiny")}
    assert rows["tuberculosis"].recall is rows[VIRAL].recall is None
    assert rows["tuberculosis"].coverage == wilson(1, 1)


def test_a_shorter_recipe_keeps_no_more_calibration_copies_than_copies() -> None:
    """Both are forms of the same stored films."""
    recipe = Recipe(name="r", epochs=8, copies=3, calibration_copies=2)
    assert shorten(recipe, None, None) == recipe
    assert shorten(recipe, 2, 1) == replace(recipe, epochs=2, copies=1, calibration_copies=1)
    assert shorten(recipe, None, 0).copies == 0


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn films: 10 of each label."""
    folder = tmp_path_factory.mktemp("films")
    write_films(folder, {"train": 7, "test": 3}, seed=4)
    return folder


def two_turns(folder: Path, recipe: Recipe = SHORT) -> list[Turn]:
    """The first two of five folds."""
    return make_folds(recipe, find_examples(recipe, folder))[:2]


@pytest.fixture(scope="module")
def finished(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two finished turns."""
    folder = tmp_path_factory.mktemp("done")
    run_turns(two_turns(films), folder, {}, ignore)
    return folder


def assert_same(found: TurnResult, path: Path) -> None:
    """What a turn said of its films is what the file says; probabilities up to the rounding of threads."""
    expected = TurnResult.model_validate_json(path.read_text())
    assert [film.model_copy(update={"probability": 0}) for film in found.films] == [
        film.model_copy(update={"probability": 0}) for film in expected.films
    ]
    assert [film.probability for film in found.films] == pytest.approx(
        [e.probability for e in expected.films], abs=1e-4
    )
    assert found.kept_epoch == expected.kept_epoch


def test_turns_judge_their_films(films: Path, finished: Path) -> None:
    """One answer for each judged film, each with a label of the recipe; nothing but the results is left over."""
    turn = two_turns(films)[0]
    rows = TurnResult.model_validate_json((finished / "1.json").read_text()).films
    assert [(row.file, row.label) for row in rows] == [(f"images/{e.path.name}", e.label) for e in turn.judged]
    assert {row.choice for row in rows} <= set(LABELS)
    assert {path.name for path in finished.iterdir()} == {"1.json", "2.json", "features.npy", "features.sha256"}


def test_a_finished_turn_is_not_run_again(films: Path, finished: Path, tmp_path: Path) -> None:
    """Its file is taken as it stands; a lost one is learned anew and says the same."""
    folder = shutil.copytree(finished, tmp_path / "run")
    marked = json.loads((folder / "1.json").read_text()) | {"kept_epoch": 77}
    (folder / "1.json").write_text(json.dumps(marked))
    (folder / "2.json").unlink()
    features = (folder / "features.npy").stat().st_mtime_ns
    results = run_turns(two_turns(films), folder, {}, ignore)
    assert results[0].kept_epoch == 77
    assert_same(results[1], finished / "2.json")
    assert (folder / "features.npy").stat().st_mtime_ns == features


def stop_after_an_epoch(stage: str, _done: int, _total: int) -> None:
    """A `Progress` that is a Ctrl-C."""
    if stage == "epochs":
        raise KeyboardInterrupt


def test_a_turn_that_is_cut_off_goes_on(films: Path, finished: Path, tmp_path: Path) -> None:
    """Killed after its first epoch, it ends with the numbers of a run that was not."""
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "2.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        run_turns(two_turns(films), folder, {}, stop_after_an_epoch)
    assert not (folder / "2.json").exists()
    epochs: list[int] = []
    results = run_turns(
        two_turns(films), folder, {}, lambda stage, done, _: epochs.append(done) if stage == "epochs" else None
    )
    assert epochs == [2]
    assert_same(results[1], finished / "2.json")
    assert {path.name for path in folder.iterdir()} == {path.name for path in finished.iterdir()}


def test_results_of_another_plan_are_refused(films: Path, finished: Path) -> None:
    """Fewer epochs, or other films, are another cross-validation."""
    with pytest.raises(DataProblem, match=r"1\.json is of another recipe"):
        run_turns(two_turns(films, replace(SHORT, epochs=1)), finished, {}, ignore)
    turn = two_turns(films)[0]
    with pytest.raises(DataProblem, match=r"1\.json is of another recipe"):
        run_turns([replace(turn, judged=turn.judged[1:])], finished, {}, ignore)


def test_results_of_films_of_the_same_names_are_refused(films: Path, finished: Path, tmp_path: Path) -> None:
    """Another hospital's: the features that lie there are not theirs either."""
    other = Path(shutil.copytree(films, tmp_path / "films"))
    write_films(other, {"train": 7, "test": 3}, seed=5)
    with pytest.raises(DataProblem, match=r"1\.json is of another recipe or of other films"):
        run_turns(two_turns(other), finished, {}, ignore)
    folder = shutil.copytree(finished, tmp_path / "run")
    before = (folder / "features.sha256").read_text()
    (folder / "1.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        run_turns(two_turns(other)[:1], folder, {}, stop_after_an_epoch)
    assert (folder / "features.sha256").read_text() != before


def test_features_of_another_recipe_are_made_again(films: Path, finished: Path, tmp_path: Path) -> None:
    """Without results to contradict, stored features are taken only where they are of the same films and knobs."""
    folder = shutil.copytree(finished, tmp_path / "run")
    before = (folder / "features.sha256").read_text()
    (folder / "1.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        run_turns(two_turns(films, replace(SHORT, seed=8))[:1], folder, {}, stop_after_an_epoch)
    assert (folder / "features.sha256").read_text() != before


def test_a_broken_result_is_named(films: Path, finished: Path, tmp_path: Path) -> None:
    """It is not learned over in silence."""
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "2.json").write_text("{}")
    with pytest.raises(DataProblem, match=r"2\.json is not the result"):
        run_turns(two_turns(films), folder, {}, ignore)


def test_a_source_left_out_keeps_other_output_and_gate(tmp_path: Path) -> None:
    """Four outputs, a gate on frozen rows, two sources of COVID-19: the one left out is judged with a recall."""
    manifest = write_films(tmp_path / "films", {"train": 12}, seed=6, labels=(*LABELS, "tuberculosis"))
    head, *rows = manifest.read_text().splitlines()
    named = [row.replace("drawn covid19", "AB"[place // 4 % 2]) for place, row in enumerate(rows)]
    manifest.write_text("\n".join([head, *named]) + "\n")
    recipe = replace(
        SHORT, other_label="other_finding", gate_layer="conv1_relu", frozen_until="conv1_relu", balance="shares"
    )
    turns = [turn for turn in make_sources(recipe, find_examples(recipe, tmp_path / "films")) if turn.name == "A"]
    (result,) = run_turns(turns, tmp_path / "out", {}, ignore)
    (row,) = summarise_source(result, "tiny, epochs 2 instead of 8")
    assert row.recipe == "tiny, epochs 2 instead of 8"
    assert (row.pool, row.label) == ("A", COVID)
    assert row.recall is not None
    assert row.recall.n == row.coverage.n == 6


@pytest.mark.slow
def test_the_command_writes_both_documents(tmp_path: Path) -> None:
    """A recipe in a file, one epoch: every drawn film judged, the recipe's text says what was cut short."""
    recipe = replace(SHORT, name="short", drawn_films=10)
    (tmp_path / "short.json").write_text(recipe.to_json())
    arguments = ["--recipe", str(tmp_path / "short.json"), "--out", str(tmp_path / "out"), "--epochs", "1"]
    found = CliRunner().invoke(crossval, [*arguments, "--copies", "0"])
    assert found.exit_code == 0, found.output
    document = CrossValidation.model_validate_json((tmp_path / "out" / "crossval.json").read_text())
    assert document.accuracy.n == sum(fold.accuracy.n for fold in document.folds) == 45
    assert document.recipe == "short, copies 0 instead of 1, epochs 1 instead of 2"
    assert document.recipe_sha256 == recipe.sha256
    assert document.films == "45 films of splits train and test in 45 groups, 5 folds"
    assert json.loads((tmp_path / "out" / "loso.json").read_text()) == []
    assert "accuracy" in found.stdout


def test_the_command_looks_for_the_weights_where_it_is_told(films: Path, tmp_path: Path) -> None:
    """Weights that are not there are named, with what to do."""
    recipe = replace(SHORT, pretrained="lite0.npz", pretrained_sha256="0" * 64)
    (tmp_path / "short.json").write_text(recipe.to_json())
    arguments = ["--recipe", str(tmp_path / "short.json"), "--data", str(films), "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(crossval, [*arguments, "--pretrained", str(tmp_path / "elsewhere.npz")])
    assert isinstance(found.exception, DataProblem)
    assert "elsewhere.npz are not there" in found.exception.detail
