"""The whole report on a small model and drawn films: what is written, where, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from shared.errors import DataProblem, InvalidRequest
from shared.model_report import ModelReport
from tests.models import quantize_model, write_model
from training.evaluate import ask, measure
from training.fit import ignore
from training.learned import list_learned, write_learned
from training.manifest_csv import read_manifest_csv
from training.recipe import LABELS
from training.recipes import find_recipe
from training.report import build, sheets
from training.report.card import render
from training.report.command import card_place, evaluate, new_folder
from training.splits import prepare
from training.synth import write_films
from worker.engine.keras_engine import load_engine

SPLITS = ("test", "external", "ood")
RECIPE = replace(find_recipe("tiny"), drawn_films=0, report_splits=SPLITS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn films in four splits; 'ood' has tuberculosis only."""
    folder = tmp_path_factory.mktemp("films")
    manifest = write_films(folder, {"train": 8, "test": 4, "external": 4, "ood": 2}, 5, (*LABELS, "tuberculosis"))
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["label"] == "tuberculosis") <= (row["split"] == "ood")]
    kept = [row for row in rows if row["split"] != "ood" or row["label"] == "tuberculosis"]
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(kept[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random arrays with its recipe."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    quantize_model(folder)
    (folder / "recipe.json").write_text(RECIPE.to_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, model: Path, data: Path) -> Path:
    """The report as the command writes it."""
    folder = tmp_path_factory.mktemp("out")
    arguments = ["--report", "--model", str(model), "--data", str(data), "--out", str(folder)]
    ran = CliRunner().invoke(evaluate, arguments)
    assert ran.exit_code == 0, ran.output
    assert "Test: accuracy" in ran.output
    return folder


@pytest.mark.slow
def test_the_document_holds_what_the_engine_says(out: Path, model: Path, data: Path) -> None:
    """Each split's metrics are those of asking again; other labels have coverage only; controls and flips are there."""
    report = ModelReport.model_validate_json((out / "model.json").read_text(encoding="utf-8"))
    engine = load_engine(model)
    for split in SPLITS:
        films = [film for film in read_manifest_csv(data / "manifest.csv") if film.split == split]
        assert report.splits[split].metrics == measure(ask(engine, films, ignore), LABELS)
    assert report.splits["ood"].metrics.accuracy is None
    assert {control.split for control in report.controls} == {"test", "external"}
    assert report.robustness
    assert report.robustness.split == "test"
    assert report.odd_inputs is None
    assert report.weights_bytes == sum((model / name).stat().st_size for name in ("weights.npz", "int8.npz"))


@pytest.mark.slow
def test_the_card_is_rendered_from_the_document_alone(out: Path) -> None:
    """What lies in the folder is `render` of the JSON beside it."""
    report = ModelReport.model_validate_json((out / "model.json").read_text(encoding="utf-8"))
    assert (out / "MODEL_CARD.md").read_text(encoding="utf-8") == render(report)


@pytest.mark.slow
def test_film_pictures_lie_beside_the_page(out: Path) -> None:
    """Every picture that the page shows is there, three panels wide."""
    page = (out / "report.html").read_text(encoding="utf-8")
    pictures = sorted((out / "films").glob("*.png"))
    assert pictures
    for picture in pictures:
        assert f'src="films/{picture.name}"' in page
        with Image.open(picture) as film:
            assert film.width == 3 * film.height + 2 * sheets.GAP_PX


@pytest.mark.slow
def test_nothing_is_written_into_the_project_by_a_trial(out: Path, model: Path) -> None:
    """Without --write-card the model's folder stays as it was."""
    assert (out / "model.json").exists()
    assert not (model / "model.json").exists()


def test_films_are_not_drawn_into_the_project() -> None:
    """Inside the checkout only var/ is allowed; outside anything."""
    with pytest.raises(DataProblem, match="below var/"):
        sheets.check_place(sheets.ROOT / "docs" / "report")
    sheets.check_place(sheets.ROOT / "var" / "runs" / "x")
    sheets.check_place(sheets.ROOT.parent / "elsewhere")


def test_an_installed_package_has_no_place_for_a_card(tmp_path: Path) -> None:
    """There the card is refused before the work, and a report goes below the current folder."""
    assert sheets.find_checkout(tmp_path) is None
    with pytest.raises(InvalidRequest, match="an installed package"):
        card_place(None)
    assert not new_folder(None, tmp_path).is_absolute()
    assert new_folder(None, tmp_path).parent == Path("var/runs")
    assert card_place(sheets.find_checkout()) == sheets.ROOT
    assert new_folder(sheets.ROOT, tmp_path).parent == sheets.ROOT / "var" / "runs"


def test_parts_are_the_named_splits(data: Path) -> None:
    """The recipe's where none is named; an empty one is refused by name only where it was named."""
    rows = read_manifest_csv(data / "manifest.csv")
    assert list(build.find_parts(RECIPE, data, rows, ())) == list(SPLITS)
    absent = replace(RECIPE, report_splits=("test", "test_adult"))
    assert list(build.find_parts(absent, data, rows, ())) == ["test"]
    with pytest.raises(DataProblem, match="test_adult"):
        build.find_parts(RECIPE, data, rows, ("test", "test_adult"))


def test_validation_is_what_the_recipe_takes_out_of_its_training_films(data: Path) -> None:
    """It is in no manifest and can be measured all the same."""
    rows = read_manifest_csv(data / "manifest.csv")
    parts = build.find_parts(RECIPE, data, rows, ("validation",))
    assert parts["validation"] == prepare(RECIPE, data).validation


def test_a_split_that_was_learned_from_is_not_measured(data: Path) -> None:
    """By its name, whatever else is asked for."""
    rows = read_manifest_csv(data / "manifest.csv")
    with pytest.raises(DataProblem, match="learned from split 'train'"):
        build.find_parts(RECIPE, data, rows, ("test", "train"))


def test_a_split_that_is_no_name_is_not_measured(data: Path) -> None:
    """Said of the name, not that it has no films."""
    with pytest.raises(DataProblem, match=r"the split name '\.\./x' may only"):
        build.find_parts(RECIPE, data, read_manifest_csv(data / "manifest.csv"), ("../x",))


def test_films_that_were_learned_from_stop_the_report(model: Path, data: Path, tmp_path: Path) -> None:
    """Put into another split they are the same films; found before any is asked about."""
    known = tmp_path / "model"
    shutil.copytree(model, known)
    write_learned(known, list_learned(prepare(RECIPE, data)))
    text = (data / "manifest.csv").read_text(encoding="utf-8")
    (tmp_path / "manifest.csv").write_text(text.replace(",external,", ",other,").replace(",train,", ",external,"))
    (tmp_path / "images").symlink_to(data / "images")
    with pytest.raises(DataProblem, match=r"line 2: the film .* of split 'external' was (learned from|chosen by)"):
        build.write_report(known, tmp_path, tmp_path / "out", ignore)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_document_says_whether_films_were_compared_with_those_learned_from(
    out: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    """How many were, where the model's folder has a record of them; else that nothing was."""
    assert ModelReport.model_validate_json((out / "model.json").read_bytes()).learned_films is None
    known = tmp_path / "model"
    shutil.copytree(model, known)
    write_learned(known, list_learned(prepare(RECIPE, data)))
    wanted = build.Wanted(splits=("validation",))
    assert build.write_report(known, data, tmp_path / "out", ignore, wanted).learned_films == 8 * len(LABELS)


def test_absent_pretrained_weights_stop_the_report(model: Path, data: Path, tmp_path: Path) -> None:
    """The controls need them: said with the place to put them, before any film is asked about."""
    other = tmp_path / "model"
    shutil.copytree(model, other)
    (other / "recipe.json").write_text(replace(RECIPE, pretrained="weights/none.npz").to_json(), encoding="utf-8")
    with pytest.raises(DataProblem, match=f"none.npz are not there: put them into {data / 'weights'};"):
        build.write_report(other, data, tmp_path / "out", ignore)
    assert not (tmp_path / "out").exists()


def test_a_group_in_two_splits_stops_the_report(model: Path, data: Path, tmp_path: Path) -> None:
    """The leak check comes before any film is asked about."""
    text = (data / "manifest.csv").read_text(encoding="utf-8").splitlines()
    first = next(line for line in text if ",test," in line).split(",")
    leaked = [line.replace(line.split(",")[2], first[2], 1) if ",external," in line else line for line in text]
    (tmp_path / "manifest.csv").write_text("\n".join(leaked) + "\n", encoding="utf-8")
    with pytest.raises(DataProblem, match="but in 'test'"):
        build.write_report(model, tmp_path, tmp_path / "out", ignore)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_card_is_refused_and_nothing_shipped_without_the_external_split(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """What was measured stays in the folder named; neither card nor model's folder is written."""
    arguments = ["--report", "--write-card", "--splits", "test", "--model", str(model), "--data", str(data)]
    ran = CliRunner().invoke(evaluate, [*arguments, "--out", str(tmp_path)])
    assert isinstance(ran.exception, DataProblem)
    assert "external split" in str(ran.exception)
    assert (tmp_path / "report.html").exists()
    assert not (tmp_path / "MODEL_CARD.md").exists()
    assert not (model / "model.json").exists()


def test_a_report_is_written_to_a_new_folder(model: Path, data: Path, tmp_path: Path) -> None:
    """An older card beside this model's numbers would pass for its own; said before anything is measured."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "MODEL_CARD.md").write_text("of another model")
    arguments = ["--report", "--splits", "test", "--model", str(model), "--data", str(data)]
    ran = CliRunner().invoke(evaluate, [*arguments, "--out", str(tmp_path / "out")])
    assert isinstance(ran.exception, InvalidRequest)
    assert ran.exception.detail == "'out' is not an empty folder; name a new one."
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["MODEL_CARD.md"]


def test_a_report_that_cannot_be_written_is_said_before_measuring(model: Path, data: Path, tmp_path: Path) -> None:
    """Nothing is measured for it."""
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    arguments = ["--report", "--splits", "test", "--model", str(model), "--data", str(data), "--out", str(out)]
    ran = CliRunner().invoke(evaluate, arguments)
    assert isinstance(ran.exception, InvalidRequest)
    assert ran.exception.detail == f"The folder '{out}' cannot be made: Not a directory."


def test_a_history_that_is_not_valid_is_said_before_measuring(model: Path, data: Path, tmp_path: Path) -> None:
    """Not after the minutes that measuring takes."""
    broken = shutil.copytree(model, tmp_path / "model")
    (broken / "history.csv").write_text("epoch,loss\n1,low\n", encoding="utf-8")
    with pytest.raises(DataProblem, match=r"history\.csv is not valid"):
        build.write_report(broken, data, tmp_path / "out", refuse_to_measure)


def refuse_to_measure(stage: str, _done: int, _total: int) -> None:
    """A `Progress` that nothing should reach."""
    pytest.fail(f"measured: {stage}")


def test_films_csv_beside_the_numbers(model: Path, data: Path, tmp_path: Path) -> None:
    """`--films` writes a row for each film of the split; the JSON has its sources."""
    arguments = ["--manifest", str(data / "manifest.csv"), "--split", "test", "--model", str(model), "--json"]
    ran = CliRunner().invoke(evaluate, [*arguments, "--films", str(tmp_path / "films.csv")])
    numbers = json.loads(ran.stdout)
    rows = (tmp_path / "films.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + numbers["n"]
    assert {source["label"] for source in numbers["sources"]} == set(LABELS)


def test_films_csv_that_cannot_be_written_is_said_before_measuring(model: Path, data: Path, tmp_path: Path) -> None:
    """Nothing is measured for it."""
    (tmp_path / "file").write_text("")
    arguments = ["--manifest", str(data / "manifest.csv"), "--model", str(model), "--json"]
    ran = CliRunner().invoke(evaluate, [*arguments, "--films", str(tmp_path / "file" / "films.csv")])
    assert isinstance(ran.exception, DataProblem)
    assert "cannot be written" in ran.exception.detail
    assert not ran.stdout


def test_without_a_manifest_or_report_the_command_says_what_to_name() -> None:
    """Neither way is a usage error."""
    ran = CliRunner().invoke(evaluate, [])
    assert ran.exit_code == 2
    assert "--report" in ran.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--report", "--json", "--manifest", "x.csv"), "--manifest, --json: not together with --report"),
        (("--report", "--films", "x.csv", "--folders", "x"), "--folders, --films: not together with --report"),
        (("--manifest", "x.csv", "--write-card", "--splits", "test"), "--splits, --write-card: only with --report"),
        (("--manifest", "x.csv", "--loso", "x", "--data", "x"), "--data, --loso: only with --report"),
    ],
)
def test_no_option_is_passed_over_in_silence(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes with the report does not go without it; a variable of the environment is no option given."""
    monkeypatch.setenv("PLAINFILM_DATA", "elsewhere")
    ran = CliRunner().invoke(evaluate, arguments, env={"COLUMNS": "200"})
    assert ran.exit_code == 2
    assert said in ran.output
