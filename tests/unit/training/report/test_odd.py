"""Odd inputs: which rows count, what an answer is, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import DataProblem
from tests.models import RuleEngine, make_manifest
from training.fit import ignore
from training.metrics import wilson
from training.report.odd import COLUMNS, is_no_chest_film, measure_odd
from training.synth import draw_film

ALWAYS_NORMAL = RuleEngine(make_manifest(), ((0.05, 0.9, 0.05),))
ALWAYS_UNSURE = RuleEngine(make_manifest(), ((0.4, 0.3, 0.3),))
RNG = np.random.default_rng(5)
PICTURES = {
    "noise.png": RNG.integers(0, 256, (64, 64)).astype(np.uint8),
    "black.png": np.zeros((64, 64), np.uint8),
    "chest.png": draw_film("normal", RNG),
}
NOT_A_CXR, SYNTHETIC = "reject or flag as not a CXR", "synthetic"


def make_folder(folder: Path, *rows: tuple[str, ...]) -> Path:
    """A folder of odd inputs with a manifest of these rows."""
    for name, pixels in PICTURES.items():
        Image.fromarray(pixels).save(folder / name)
    (folder / "text.jpg").write_text("no picture")
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return folder


NOISE = ("noise.png", "degenerate image", NOT_A_CXR, SYNTHETIC)
BLACK = ("black.png", "degenerate image", NOT_A_CXR, SYNTHETIC)
TEXT = ("text.jpg", "plain text named .jpg", "reject", SYNTHETIC)
CHEST = ("chest.png", "REAL CXR as PNG", "classify", "somewhere")


def test_answers_are_verdicts_that_name_a_label(tmp_path: Path) -> None:
    """Of noise, black and a text file one is answered: black has no contrast, the decoder refuses text."""
    found = measure_odd(ALWAYS_NORMAL, make_folder(tmp_path, NOISE, BLACK, TEXT, CHEST), ignore)
    assert found.answered == wilson(1, 3)
    assert found.answered_files == ["noise.png"]


def test_uncertain_is_no_answer(tmp_path: Path) -> None:
    """A model that abstains answers none."""
    found = measure_odd(ALWAYS_UNSURE, make_folder(tmp_path, NOISE, BLACK), ignore)
    assert (found.answered, found.answered_files) == (wilson(0, 2), [])


@pytest.mark.parametrize(
    ("what", "expectation", "source", "is_none"),
    [
        ("REAL lateral chest X-ray", "not a frontal CXR: flag as out-of-scope", "a hospital", True),
        ("REAL very large image (lateral)", "accept or reject by pixel limit", "a hospital", True),
        ("REAL CT slice DICOM", "clear 415; otherwise non-CXR modality rejected", "examples", True),
        ("decompression bomb", "reject from header", "synthetic", True),
        ("REAL CXR as CMYK JPEG", "classify", "a hospital", False),
        ("first 200 bytes of a JPEG", "reject", "derived from a film", False),
        ("REAL CXR, inverted greyscale", "ideally detect/flag", "derived from a film", False),
    ],
)
def test_rows_are_told_apart_by_their_words(what: str, expectation: str, source: str, *, is_none: bool) -> None:
    """By the expectation, by 'lateral', by 'synthetic'; damaged chest films stay chest films."""
    row = {"file": "f", "what": what, "suggested_expectation": expectation, "source": source}
    assert is_no_chest_film(row) is is_none


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """What the manifest names must be there."""
    folder = make_folder(tmp_path, ("gone.png", "noise", NOT_A_CXR, SYNTHETIC))
    with pytest.raises(DataProblem, match=r"gone\.png"):
        measure_odd(ALWAYS_NORMAL, folder, ignore)


def test_only_chest_films_are_refused(tmp_path: Path) -> None:
    """There is nothing to measure."""
    with pytest.raises(DataProblem, match="names no input"):
        measure_odd(ALWAYS_NORMAL, make_folder(tmp_path, CHEST), ignore)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """With the manifest's name."""
    (tmp_path / "manifest.csv").write_text("file,what\na.png,noise\n")
    with pytest.raises(DataProblem, match="suggested_expectation, source is missing"):
        measure_odd(ALWAYS_NORMAL, tmp_path, ignore)


def test_a_manifest_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    """The mark that spreadsheets put before UTF-8 is no part of the first column's name."""
    path = make_folder(tmp_path, NOISE) / "manifest.csv"
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert measure_odd(ALWAYS_NORMAL, tmp_path, ignore).answered == wilson(1, 1)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    """An empty folder says what it lacks."""
    with pytest.raises(DataProblem, match=r"manifest\.csv"):
        measure_odd(ALWAYS_NORMAL, tmp_path, ignore)
