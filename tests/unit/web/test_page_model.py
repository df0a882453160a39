"""The model page with a report: its goals, and its splits with intervals; without one the manifest's numbers."""

from __future__ import annotations

import html
import re

import pytest
from sqlalchemy import update

from shared.db.tables import Model
from shared.manifest import Rate, SplitMetrics
from shared.model_report import Bin, Change, Epoch, ModelReport, Robustness
from shared.wiring import Resources
from tests.api import Api, Browser
from tests.fakes import make_manifest
from tests.reports import make_report, make_split
from web import present_report
from web.present_charts import draw_courses, draw_reliability


@pytest.fixture
def person(api: Api) -> Browser:
    """A browser with a session."""
    return api.browse()


def register(resources: Resources, report: str | None, **changes: object) -> None:
    """A model as a worker makes it known."""
    manifest = make_manifest().model_copy(update=changes)
    with resources.database.begin() as session:
        values = {"name": manifest.name, "version": manifest.version, "manifest": manifest.model_dump_json()}
        now = resources.database.now(session)
        session.add(Model(weights_sha256=manifest.weights_sha256, registered_at=now, report=report, **values))


def show(person: Browser, resources: Resources, report: ModelReport, **changes: object) -> str:
    """The page of a model with that report, spaces made single; `changes` are of its manifest."""
    register(resources, report.model_dump_json(), **changes)
    return " ".join(person.request("GET", "/model").text.split())


def test_goals_stand_with_value_interval_n_and_whether_they_are_reached(person: Browser, resources: Resources) -> None:
    """Each line of the report's goals; one that is missed is marked."""
    page = show(person, resources, make_report())
    told = (("Goal", "at least 0.97"), ("Value", "0.900"), ("Interval", "0.850-0.950"), ("n", "100"))
    cells = [f'<td role="cell" class="number" data-head="{head}">{words}</td>' for head, words in told]
    drawn = (
        '<path class="spread" d="M85.0 6H95.0"/><circle cx="90.0" cy="6" r="2.2"/><path class="goal" d="M97.0 0V12"/>'
    )
    whole = re.sub(' *<td role="cell" class="drawn">.*?</td>', "", page)
    assert drawn in page
    missed = '<td role="cell" class="number warn" data-head="Reached">No</td>'
    assert "".join([*cells, missed]) in whole
    assert "8 of 50 wrong" in page
    assert page.count(">Not measured</td>") == 1  # other findings: the report has no such split
    assert page.index("What it must not be used for, and its limits") < page.index("Performance goals")


def test_splits_are_the_reports_with_intervals_and_sources(person: Browser, resources: Resources) -> None:
    """Estimates have their ends, sources their rows; the most telling split comes first."""
    page = show(person, resources, make_report())
    assert "0.860 to 0.960" in page
    assert "without intervals" not in page
    assert page.index("External <span") < page.index("Test, adults <span") < page.index("Test <span")
    assert '<tr><th scope="row">NIH ChestX-ray</th><td>Other pneumonia</td><td class="number">20</td>' in page


def test_the_warning_of_other_findings_quotes_known_and_unknown_ones(person: Browser, resources: Resources) -> None:
    """What it learned to tell apart looks far better than what it never saw; the second number stands beside it."""
    splits = {"ood": make_split(), "external": make_split()}
    page = show(person, resources, make_report(splits=splits), other_label="other_finding")
    assert (
        "Of 100 films with other findings of the kinds that it was trained on, 85.0 % (80.0 to 90.0) were nevertheless"
        in page
    )
    assert (
        "Of 20 films with a kind of finding that it was never trained on (pneumonia in NIH ChestX-ray), 30.0 % (25.0"
        in page
    )


def test_a_goal_inside_its_interval_is_reached_by_the_value_alone() -> None:
    """Whether above or below; one that the interval settles is plainly reached or missed."""
    goal = make_report().goals[0].model_copy(update={"limit": 0.97, "low": 0.95, "high": 0.98})
    assert present_report.reached(goal.model_copy(update={"reached": True})) == "Yes, within the interval"
    assert present_report.reached(goal.model_copy(update={"reached": False})) == "No, within the interval"
    assert present_report.reached(goal.model_copy(update={"reached": True, "low": 0.971})) == "Yes"
    edge = {"limit": 0.0, "low": 0.0, "high": 0.12, "reached": True}
    assert present_report.reached(goal.model_copy(update=edge)) == "Yes, within the interval"
    assert present_report.reached(goal.model_copy(update=edge | {"high": 0.0})) == "Yes"
    assert present_report.reached(goal.model_copy(update={"reached": None})) == "Not measured"


def test_labels_and_collections_of_the_report_are_told_in_words() -> None:
    """In its sentences, too; a code that is not known stays as it is."""
    told = present_report.name_codes("Most is lost on normal of x_kermany_test: 43 of 116 wrong.")
    assert told == "Most is lost on Normal of Kermany, test films: 43 of 116 wrong."
    assert (
        present_report.name_codes("External, Hannover: recall of covid19") == "External, Hannover: recall of COVID-19"
    )
    assert present_report.name_pool("x_of_tomorrow") == "x_of_tomorrow"
    assert present_report.name_pool("") == "not stated"


def test_reasons_for_doubt_are_told(person: Browser, resources: Resources) -> None:
    """Controls, collections left out and small changes, as the report has them; a near control is marked."""
    (control, *_), (left, *_) = make_report().controls, make_report().leave_one_source_out
    report = make_report().model_copy(update={"controls": [control.model_copy(update={"is_near": True}), control]})
    page = show(person, resources, report)
    name, split = present_report.name_control(control.name), present_report.name_split(control.split)
    value = f"{control.balanced_accuracy.value:.3f}"
    assert f'<th scope="row">{name}</th><td>{split}</td>' in page
    assert page.count(f'<td class="number warn">{value}</td>') == page.count(f'<td class="number">{value}</td>') == 1
    assert left.recall is not None
    assert f"{present_report.name_pool(left.pool)}</th>" in page
    assert report.robustness is not None
    assert all(change.name in page for change in report.robustness.changes)
    assert "ROC AUC, COVID-19" in page
    assert "Mean size of the prediction set" in page


@pytest.mark.parametrize(("high", "scale"), [(0.19, "0 to 20 %"), (0.21, "0 to 100 %")])
def test_small_changes_name_the_scale_that_they_are_drawn_on(
    person: Browser, resources: Resources, high: float, scale: str
) -> None:
    """Small shares have a scale of their own; a line near its end is not a share of nearly all films."""
    flips = Rate(value=0.15, n=100, low=0.1, high=high)
    robustness = Robustness(split="test", changes=[Change(name="JPEG", flips=flips)], any_change=flips)
    page = show(person, resources, make_report(robustness=robustness))
    heads = page[page.index("Shares of verdicts that changed") :].partition("</thead>")[0]
    assert f">{scale}</th>" in heads


def test_limits_are_those_of_the_report(person: Browser, resources: Resources) -> None:
    """Word for word; a model without a report has those that hold for every one."""
    report = make_report()
    assert report.limits
    page = show(person, resources, report)
    assert all(html.escape(present_report.name_codes(limit), quote=False) in page for limit in report.limits)
    assert "means children at one hospital" not in page


def test_the_page_begins_with_what_is_on_it(person: Browser, resources: Resources) -> None:
    """A link to each part, and none to one that is not there."""
    page = show(person, resources, make_report())
    links = re.findall(r'<li><a href="#(\w+)">', page)
    assert links == ["limits", "goals", "measured", "doubts", "readers", "trained", "thresholds", "identity"]
    assert all(f'id="{link}"' in page for link in links)


def test_without_a_report_there_are_no_goals(person: Browser, resources: Resources) -> None:
    """The page is there all the same, also where the stored report is of another build's form."""
    register(resources, None)
    page = person.request("GET", "/model").text
    assert "Performance goals" not in page
    assert 'href="#goals"' not in page
    assert "Reasons for doubt" not in page
    assert "means children at one hospital" in page


def test_thresholds_of_a_recalibration_are_not_said_to_be_of_the_training(
    person: Browser, resources: Resources
) -> None:
    """The validation films chose the epoch alone, and the films that measure it are named for what they are."""
    coverage = Rate(value=0.8, n=50, low=0.7, high=0.9)
    held_out = {"held_out": SplitMetrics(n=50, coverage=coverage)}
    register(resources, None, metrics=held_out, trained_on={"normal": 9, "validation": 3})
    page = " ".join(person.request("GET", "/model").text.split())
    assert "to choose the epoch; temperature and thresholds were set later, on other films (recalibration)" in page
    assert "The half of the films of a recalibration that did not set its thresholds." in page
    assert "held_out <" not in page


def test_a_report_of_another_form_is_left_out(person: Browser, resources: Resources) -> None:
    """An older or newer build's document is no reason for an error page."""
    register(resources, '{"goals": []}')
    answer = person.request("GET", "/model")
    assert answer.status_code == 200
    assert "Performance goals" not in answer.text


def test_probabilities_stand_beside_how_often_they_are_right(person: Browser, resources: Resources) -> None:
    """A chart and a table for each split; neither for a report of an older build."""
    page = show(person, resources, make_report(splits={"test": make_split()}))
    row = '<tr><th scope="row">55.0 %</th><td class="number">50.0 %</td><td class="number">8</td>'
    assert row in page
    few = '<circle class="dot few" cx="110.0" cy="100.0" r="3.0"/><path class="spread few" d="M110.0 110.0V90.0"/>'
    assert few in page
    assert '<circle class="dot" cx="194.0"' in page
    with resources.database.begin() as session:
        older = make_report(splits={"test": make_split(reliability=[])}, history=[])
        session.execute(update(Model).values(report=older.model_dump_json()))
    assert '<figure class="chart">' not in person.request("GET", "/model").text


def test_the_course_of_learning_is_drawn_and_told(person: Browser, resources: Resources) -> None:
    """Loss and accuracy by epoch, from the least to the most; an upright line at the epoch that was kept."""
    page = show(person, resources, make_report())
    for measure, words in (("Loss", "from 0.50 to 0.40, validation from 0.60 to 0.50"), ("Accuracy", "from 80 %")):
        assert f'aria-label="{measure} over 2 epochs: training {words}' in page
    assert '<polyline class="training" points="0.0,33.3 200.0,66.7"/>' in page  # of a loss, whose axis begins at 0
    assert '<polyline class="validation" points="0.0,200.0 200.0,100.0"/>' in page  # of an accuracy
    assert page.count('<path class="kept" d="M200.0 0V200"/>') == 2
    assert "0.50 at epoch 2, which was kept." in page


def test_an_epoch_that_is_not_known_is_not_marked() -> None:
    """And one epoch is no course."""
    report = make_report(kept_epoch=None)
    assert [(drawn.kept, "kept" in drawn.words) for drawn in draw_courses(report)] == [(None, False)] * 2
    assert draw_courses(report.model_copy(update={"history": report.history[:1]})) == []


def test_bins_without_films_are_drawn_small() -> None:
    """No report of ours has one."""
    empty = Bin(probability=0.5, accuracy=Rate(value=0, n=0, low=0, high=1))
    assert [dot.radius for dot in draw_reliability([empty, empty])] == [2.0, 2.0]


def test_a_course_that_stays_the_same_is_drawn() -> None:
    """All its numbers are equal: a line at the head of the loss, at the foot of the accuracy."""
    flat = [Epoch(number, 0.5, 0.5, 0.5, 0.5, 1.0) for number in (1, 2)]
    lines = [drawn.training for drawn in draw_courses(make_report(history=flat))]
    assert lines == ["0.0,0.0 200.0,0.0", "0.0,200.0 200.0,200.0"]
