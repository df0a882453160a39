"""The goals: each finds its number, is judged by it, and says so where there is none."""

from __future__ import annotations

import pytest

from shared.model_report import Goal, ModelReport, Source
from tests.reports import make_estimate, make_rate, make_report, make_split
from training.report.goals import LINES, NOT_MEASURED, judge


def find(report: ModelReport, measure: str) -> Goal:
    """The line of that name."""
    return next(goal for goal in judge(report) if goal.measure == measure)


@pytest.mark.parametrize(
    ("measure", "value", "is_reached"),
    [
        ("Test: accuracy", 0.9, False),
        ("Test: macro F1", 0.89, False),
        ("Cross-validation by group: accuracy", 0.97, True),
        ("Adults: balanced accuracy", 0.91, False),
        ("External: balanced accuracy", 0.91, True),
        ("External: share given a verdict", 0.85, True),
        ("External: accuracy of the verdicts given to films of the labels", 0.95, True),
        ("External, Hannover: recall of covid19", 0.98, True),
        ("External, NIH: recall of normal", 0.84, False),
        ("Other finding never learned (NIH pneumonia) given a verdict", 0.3, True),
        ("Odd inputs given a verdict", 0.1, False),
        ("Test: calibration error", 0.02, True),
        ("External: calibration error", 0.02, True),
        ("Verdict flips by a harmless change", 0.02, True),
        ("Learning time, minutes", 30.0, True),
        ("Weights, MB", 13.438434, True),
    ],
)
def test_each_line_finds_its_number(measure: str, value: float, *, is_reached: bool) -> None:
    """Each number of the hand-made report stands in its line and is judged against the line's limit."""
    goal = find(make_report(), measure)
    assert goal.value == pytest.approx(value)
    assert goal.reached is is_reached


def test_a_number_at_the_limit_reaches_the_goal() -> None:
    """'At least' and 'at most' include the limit."""
    exact = make_split(estimates={"balanced_accuracy": make_estimate(0.88), "ece15": make_estimate(0.08)})
    report = make_report(splits={"external": exact})
    assert find(report, "External: balanced accuracy").reached is True
    assert find(report, "External: calibration error").reached is True


def test_three_points_from_nominal_are_within_three_points() -> None:
    """|.87 - .9| is a little more than .03 in binary."""
    sets = make_split().sets.model_copy(update={"by_label": {"normal": make_rate(0.87, 100)}})
    goal = find(make_report(splits={"test_adult": make_split(sets=sets)}), "Adults: largest deviation of set coverage")
    assert goal.reached is True


def test_what_a_measure_loses_most_on_goes_by_how_it_weighs() -> None:
    """12 of 300 viral films cost accuracy most, 7 of 90 COVID-19 films macro F1, whose label is rare."""
    sources = [
        Source(source="vp", label="viral_pneumonia", recall=make_rate(288 / 300, 300), coverage=make_rate(0.9, 300)),
        Source(source="covA", label="covid19", recall=make_rate(83 / 90, 90), coverage=make_rate(0.9, 90)),
    ]
    confusion = [[83, 4, 3], [0, 300, 0], [0, 12, 288]]
    metrics = make_split().metrics.model_copy(update={"confusion": confusion})
    report = make_report(splits={"test": make_split(sources=sources, metrics=metrics)})
    assert "viral_pneumonia of vp: 12 of 300" in find(report, "Test: accuracy").note
    assert "covid19 of covA: 7 of 90" in find(report, "Test: macro F1").note


def test_accuracy_of_verdicts_tells_what_it_is_of_all() -> None:
    """With those on other findings."""
    metrics = make_split().metrics.model_copy(update={"verdict_precision": make_rate(0.76, 85)})
    report = make_report(splits={"external": make_split(metrics=metrics)})
    line = find(report, "External: accuracy of the verdicts given to films of the labels")
    assert "Of all 85 verdicts, those on other findings among them, 0.760 are right." in line.note


def test_sets_are_judged_by_the_label_furthest_from_nominal() -> None:
    """0.83 is 0.07 from 0.90, 0.91 only 0.01; the interval 0.78 to 0.88 lies 0.02 to 0.12 from it."""
    goal = find(make_report(), "Adults: largest deviation of set coverage")
    assert (goal.value, goal.n, goal.reached) == (pytest.approx(0.07), 30, False)
    assert (goal.low, goal.high) == (pytest.approx(0.02), pytest.approx(0.12))
    assert "normal" in goal.note


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    """Without splits and parts every line stays, says so, and only the size of the weights is known."""
    bare = make_report(
        splits={}, robustness=None, odd_inputs=None, cross_validation=None, train_seconds=None, controls=[]
    )
    goals = judge(bare)
    assert len(goals) == len(LINES)
    missing = [goal for goal in goals if goal.measure != "Weights, MB"]
    assert {(goal.value, goal.reached, goal.note) for goal in missing} == {(None, None, NOT_MEASURED)}


def test_a_share_of_no_film_is_not_measured() -> None:
    """0 of 0 is no zero."""
    metrics = make_split().metrics.model_copy(update={"selective_accuracy": make_rate(0.0, 0)})
    report = make_report(splits={"external": make_split(metrics=metrics)})
    assert find(report, "External: accuracy of the verdicts given to films of the labels").reached is None


def test_a_missed_goal_says_where_most_is_lost_and_whether_the_films_settle_it() -> None:
    """Of 50 normals of x_nih 8 are wrong, of 50 of x_hannover 1; 0.97 lies in 0.85 to 0.95 no more."""
    missed = find(make_report(), "Test: accuracy")
    assert "normal of x_nih: 8 of 50 wrong" in missed.note
    assert "interval" not in missed.note
    open_one = find(make_report(), "Adults: balanced accuracy")
    assert "these films cannot settle it" in open_one.note
    assert "wrong" not in find(make_report(), "External: balanced accuracy").note
