"""The model card: all of the document and nothing else, and no card where something is missing."""

from __future__ import annotations

import re

import pytest

from shared.errors import DataProblem
from shared.model_report import Recalibration
from tests.reports import make_estimate, make_report, make_split
from training.report.card import LITERATURE, render


def numbers(text: str) -> set[str]:
    """Every number with a decimal point."""
    return set(re.findall(r"\d+\.\d+", text))


def test_the_card_holds_every_part_of_the_report() -> None:
    """A number of each part, the limits, the file that was answered, the sentence on the near control."""
    card = render(make_report())
    for words in (
        "Research use; not a medical device",
        "| Test: accuracy | at least 0.97 | no | 0.900 | 0.850-0.950 | 100 |",
        "| accuracy of the forced choice | 90.0 % | 85.0-95.0 | 100 |",
        "| `external` | x_nih | other pneumonia | 20 | - | 30.0 % (25.0-35.0) |",
        "| rotated | 2.0 % |",
        "* `leg.png`",
        "**16 x 16 thumbnail comes close to the model** on `external` (0.880, the model 0.910)",
        "| covA | COVID-19 | 40 | 70.0 % (65.0-75.0) |",
        "| 1 | 95.0 % |",
        "| grad_cam | 0.999 | yes |",
        "* A heatmap shows what moved the score.",
        "trained on 2026-01-01 in 30.0 minutes",
    ):
        assert words in card


def test_names_of_others_break_no_table() -> None:
    """A pool and an odd file with a bar, HTML and marks: the row keeps its cells, and all of it shows."""
    report = make_report()
    source = report.splits["external"].sources[0].model_copy(update={"source": "a|b <script>*x*"})
    odd = report.odd_inputs.model_copy(update={"answered_files": ["**bold** `x`.png"]}) if report.odd_inputs else None
    left = [row.model_copy(update={"pool": "a|b"}) for row in report.leave_one_source_out]
    split = report.splits["external"].model_copy(update={"sources": [source]})
    changes = {"splits": report.splits | {"external": split}, "odd_inputs": odd, "leave_one_source_out": left}
    card = render(report.model_copy(update=changes))
    assert r"| `external` | a\|b \<script\>\*x\* |" in card
    assert r"| a\|b | COVID-19 | 40 |" in card
    assert r"* \*\*bold\*\* \`x\`.png" in card


def test_a_control_that_is_not_near_is_not_held_against_the_model() -> None:
    """Only the near one has its sentence."""
    assert "Border only comes close" not in render(make_report())


def test_the_card_has_no_number_of_its_own() -> None:
    """A number that changes in the report changes in the card; without it nothing of it stays."""
    before = render(make_report())
    splits = {
        name: make_split(estimates=dict.fromkeys(("balanced_accuracy", "macro_f1", "ece15"), make_estimate(0.4321)))
        for name in ("test", "external")
    }
    after = render(make_report(splits=splits))
    assert "0.432" in after
    assert "0.432" not in before
    literature = "".join(str(block) for block in LITERATURE.blocks)
    assert numbers("87.02 94.3 91.5") <= numbers(literature)


def test_external_films_of_known_hospitals_are_told_from_new_ones() -> None:
    """50 of x_nih are of a hospital of the training films; of x_hannover's 50, 49 are right."""
    card = render(make_report())
    assert "**50 of the 100 films with a label are from hospitals that training films come from too**" in card
    assert "the first choice is correct for 49 of 50 COVID-19." in card


def test_explanations_tell_what_films_they_were_checked_on() -> None:
    """Twelve blends are few."""
    explanations = make_report().explanations
    assert explanations is not None
    checked = explanations.model_copy(update={"films": 12, "of": "blends"})
    assert "On only 12 films (blends), so these numbers are rough." in render(make_report(explanations=checked))
    assert "so few" not in render(make_report(explanations=explanations))


def test_thresholds_set_on_few_films_are_told_of() -> None:
    """Beside the number of films; where they were enough there is no such sentence."""
    few = Recalibration(films=45, is_checked=True, is_few=True)
    card = render(make_report(recalibration=few))
    assert "on 45 other films; none is in a test set here. **They are fewer than recalibration asks for**" in card
    assert "asks for" not in render(make_report(recalibration=few.model_copy(update={"is_few": False})))


def test_the_same_report_gives_the_same_card() -> None:
    """Pure."""
    assert render(make_report()) == render(make_report())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"splits": {"test": make_split()}}, "the external split"),
        ({"split_method": " "}, "the split method"),
        ({"intended_use": ""}, "the intended use"),
        ({"splits": {"external": make_split(estimates={"macro_f1": make_estimate(0.9)})}}, "intervals of external"),
    ],
)
def test_a_report_that_lacks_what_a_card_must_have_is_refused(changes: dict[str, object], words: str) -> None:
    """Each of the four is named, and nothing is rendered."""
    with pytest.raises(DataProblem, match=words):
        render(make_report(**changes))


def test_what_was_not_measured_is_said_to_be() -> None:
    """Parts that other runs make may be missing; the card says so under their headings."""
    card = render(make_report(robustness=None, cross_validation=None, leave_one_source_out=[], explanations=None))
    assert card.count("Not measured.") >= 4
    assert "## Leave one source out\n\nNot measured." in card
