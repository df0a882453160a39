"""What other runs and the model's folder tell, read back as it was written; what is not right is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import DataProblem, ManifestMismatch
from shared.model_report import REPORT_FILE, Epoch, read_report
from tests.fakes import make_manifest
from tests.reports import make_report
from training.recipe import Recipe
from training.report.extras import read_extras
from training.report.facts import Learning, read_history, read_learning, write_learning

SHA256 = "0" * 64
MODEL = make_manifest().model_copy(update={"recipe": "test", "weights_sha256": SHA256})
RECIPE = Recipe(name="test", epochs=12)


def write(path: Path, value: object) -> Path:
    """A JSON file."""
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_files_of_other_runs_are_read(tmp_path: Path) -> None:
    """Folds, sources left out and the explanations' check come back as they were written."""
    report = make_report()
    assert report.cross_validation
    crossval = write(tmp_path / "crossval.json", report.cross_validation.model_dump())
    loso = write(tmp_path / "loso.json", [row.model_dump() for row in report.leave_one_source_out])
    checked = {"model": SHA256, "films": 12, "agreement": [{"method": "gradient"}], "sanity": [], "areas": []}
    found = read_extras(MODEL, RECIPE, crossval, loso, write(tmp_path / "explanations.json", checked))
    assert found.cross_validation == report.cross_validation
    assert found.leave_one_source_out == report.leave_one_source_out
    assert found.explanations
    assert found.explanations.agreement == [{"method": "gradient"}]


def test_explanations_of_other_weights_are_refused(tmp_path: Path) -> None:
    """A check of another model says nothing of this one."""
    path = write(tmp_path / "explanations.json", {"model": "1" * 64, "agreement": [], "sanity": [], "areas": []})
    with pytest.raises(DataProblem, match="other weights"):
        read_extras(MODEL, RECIPE, explanations=path)


@pytest.mark.parametrize("part", ["crossval", "loso"])
def test_folds_and_sources_of_another_recipe_are_refused(tmp_path: Path, part: str) -> None:
    """What another recipe reached is no number of this model; knobs told after the name are the same recipe's."""
    report = make_report()
    assert report.cross_validation
    rows = [row.model_dump() for row in report.leave_one_source_out]
    path = write(tmp_path / "file.json", report.cross_validation.model_dump() if part == "crossval" else rows)
    read_extras(MODEL, RECIPE, **{part: path})
    with pytest.raises(DataProblem, match=r"file\.json is of the recipe test.*, the model of default"):
        read_extras(MODEL.model_copy(update={"recipe": "default"}), RECIPE, **{part: path})


@pytest.mark.parametrize("part", ["crossval", "loso"])
def test_folds_and_sources_of_other_knobs_are_refused(tmp_path: Path, part: str) -> None:
    """The recipe's name is the same; a file of an older build, which does not tell, is taken and said to be so."""
    report = make_report()
    assert report.cross_validation
    row = report.cross_validation if part == "crossval" else report.leave_one_source_out[0]

    def written(sha256: str | None) -> dict[str, Path]:
        told = row.model_dump() | {"recipe_sha256": sha256}
        return {part: write(tmp_path / "file.json", told if part == "crossval" else [told])}

    assert not read_extras(MODEL, RECIPE, **written(RECIPE.sha256)).notes
    with pytest.raises(DataProblem, match=r"file\.json is of a recipe test with other knobs than the model's"):
        read_extras(MODEL, RECIPE, **written(replace(RECIPE, epochs=3).sha256))
    (note,) = read_extras(MODEL, RECIPE, **written(None)).notes
    assert note.startswith("file.json names its recipe and not its knobs")


@pytest.mark.parametrize("text", ["{", "{}", "[1]"])
def test_a_file_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    """The sentence names the file."""
    path = tmp_path / "crossval.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataProblem, match=r"crossval\.json is not of the form"):
        read_extras(MODEL, RECIPE, crossval=path)
    with pytest.raises(DataProblem, match=r"gone\.json cannot be read"):
        read_extras(MODEL, RECIPE, crossval=tmp_path / "gone.json")


def test_learning_is_read_back_or_taken_from_an_earlier_report(tmp_path: Path) -> None:
    """learning.json first; without it the seconds of a report on the same weights; else nothing."""
    assert read_learning(tmp_path, SHA256) is None
    (tmp_path / REPORT_FILE).write_text(make_report().model_dump_json(), encoding="utf-8")
    assert read_learning(tmp_path, SHA256) == Learning(seconds=1800.0)
    write_learning(tmp_path, Learning(seconds=12.5, kept_epoch=3))
    assert read_learning(tmp_path, SHA256) == Learning(seconds=12.5, kept_epoch=3)


def test_learning_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Like one of another form: by name, not by a traceback."""
    (tmp_path / "learning.json").write_bytes(b'{"seconds": "\xff"}')
    with pytest.raises(DataProblem, match=r"learning\.json is not valid"):
        read_learning(tmp_path, SHA256)


def test_a_report_of_other_weights_or_of_another_form_is_refused(tmp_path: Path) -> None:
    """Absent is None; broken and foreign are errors."""
    assert read_report(tmp_path, SHA256) is None
    (tmp_path / REPORT_FILE).write_text(make_report().model_dump_json(), encoding="utf-8")
    assert read_report(tmp_path, SHA256) == make_report()
    with pytest.raises(ManifestMismatch, match="other weights"):
        read_report(tmp_path, "1" * 64)
    (tmp_path / REPORT_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(ManifestMismatch, match="not a report"):
        read_report(tmp_path, SHA256)


def test_history_is_read_as_the_export_writes_it(tmp_path: Path) -> None:
    """Each line is an epoch; a broken one is an error, no file is no history."""
    assert read_history(tmp_path) == ()
    header = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds"
    (tmp_path / "history.csv").write_text(f"{header}\n1,0.5,0.8,0.6,0.7,2.5\n", encoding="utf-8")
    assert read_history(tmp_path) == (Epoch(1, 0.5, 0.8, 0.6, 0.7, 2.5),)
    (tmp_path / "history.csv").write_text(f"{header}\n1,0.5\n", encoding="utf-8")
    with pytest.raises(DataProblem, match=r"history\.csv is not valid"):
        read_history(tmp_path)
