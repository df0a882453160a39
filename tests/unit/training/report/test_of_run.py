"""A training run ends with its report: cross-validated where the recipe asks, a card only where nothing is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.model_report import ModelReport
from training.cli import train
from training.fit import ignore
from training.report.of_run import report_run

TINY = ("--recipe", "tiny", "--set", "drawn_films=10", "--set", "copies=0")


def learn(out: Path, *more: str) -> str:
    """`plainfilm train` of the small recipe; what it says."""
    result = CliRunner().invoke(train, [*TINY, *more, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return result.stdout


def read(out: Path) -> ModelReport:
    """The run's document."""
    return ModelReport.model_validate_json((out / "model.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_run_ends_with_its_report_and_folds(tmp_path: Path) -> None:
    """Every film of train and test judged once, curves and sheets on the page; the card is refused with a reason."""
    said = learn(tmp_path, "--set", "epochs=2", "--set", "is_cross_validated=true")
    found = read(tmp_path).cross_validation
    assert found is not None
    assert len(found.folds) == 5
    assert found.accuracy.n == 45
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for part in ('id="course"', 'id="folds"', 'id="saliency"'):
        assert part in page, part
    assert list((tmp_path / "films").glob("test_right_*.png"))
    assert "no model card: it lacks the external split" in said
    assert not (tmp_path / "MODEL_CARD.md").exists()


@pytest.mark.slow
def test_no_report_leaves_the_model_alone(tmp_path: Path) -> None:
    """With --no-report there is none; it can be made afterwards, without folds where none were asked for."""
    learn(tmp_path, "--set", "epochs=1", "--no-report")
    assert not (tmp_path / "report.html").exists()
    assert report_run(tmp_path, ignore) == ["the external split"]
    assert read(tmp_path).cross_validation is None


@pytest.mark.slow
def test_a_run_cut_off_before_its_report_goes_on_with_it(tmp_path: Path) -> None:
    """Nothing is learned again; once the report is there, the run is finished."""
    learn(tmp_path, "--set", "epochs=1", "--no-report")
    weights = (tmp_path / "weights.npz").read_bytes()
    log = (tmp_path / "run.log").read_text(encoding="utf-8")
    result = CliRunner().invoke(train, ["--resume", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "weights.npz").read_bytes() == weights
    assert (tmp_path / "run.log").read_text(encoding="utf-8") == log
    result = CliRunner().invoke(train, ["--resume", str(tmp_path)])
    assert "nothing to resume" in str(result.exception)
