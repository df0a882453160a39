"""The model page with a report: its goals, and its splits with intervals; without one the manifest's numbers."""

from __future__ import annotations

import pytest

from shared.db.tables import Model
from shared.model_report import ModelReport
from shared.wiring import Resources
from tests.api import Api, Browser
from tests.fakes import make_manifest
from tests.reports import make_report, make_split


@pytest.fixture
def person(api: Api) -> Browser:
    """A browser with a session."""
    return api.browse()


def register(resources: Resources, report: str | None) -> None:
    """A model as a worker makes it known."""
    manifest = make_manifest()
    with resources.database.begin() as session:
        values = {"name": manifest.name, "version": manifest.version, "manifest": manifest.model_dump_json()}
        now = resources.database.now(session)
        session.add(Model(weights_sha256=manifest.weights_sha256, registered_at=now, report=report, **values))


def show(person: Browser, resources: Resources, report: ModelReport) -> str:
    """The page of a model with that report, spaces made single."""
    register(resources, report.model_dump_json())
    return " ".join(person.request("GET", "/model").text.split())


def test_goals_stand_with_value_interval_n_and_whether_they_are_reached(person: Browser, resources: Resources) -> None:
    """Each line of the report's goals; one that is missed is marked."""
    page = show(person, resources, make_report())
    told = (("Goal", "at least 0.97"), ("Value", "0.900"), ("Interval", "0.850-0.950"), ("n", "100"))
    cells = [f'<td role="cell" class="number" data-head="{head}">{words}</td>' for head, words in told]
    missed = '<td role="cell" class="number warn" data-head="Reached">No</td>'
    assert "".join([*cells, missed]) in page
    assert "8 of 50 wrong" in page
    assert page.count(">Not measured</td>") == 1  # other findings: the report has no such split
    assert page.index("What it is not for, and what it cannot tell") < page.index("What was aimed at")


def test_splits_are_the_reports_with_intervals_and_sources(person: Browser, resources: Resources) -> None:
    """Estimates have their ends, sources their rows; the most telling split comes first."""
    page = show(person, resources, make_report())
    assert "0.860 to 0.960" in page
    assert "without intervals" not in page
    assert page.index("External <span") < page.index("Test, adults <span") < page.index("Test <span")
    assert '<tr><th scope="row">x_nih</th><td>Other pneumonia</td><td class="number">20</td>' in page


def test_the_warning_of_other_findings_takes_the_reports_number(person: Browser, resources: Resources) -> None:
    """The share of `ood` that is given a label stands among the limits."""
    page = show(person, resources, make_report(splits={"ood": make_split()}))
    assert "Of 100 films with other findings, 85.0 % were given" in page


def test_without_a_report_there_are_no_goals(person: Browser, resources: Resources) -> None:
    """The page is there all the same, also where the stored report is of another build's form."""
    register(resources, None)
    assert "What was aimed at" not in person.request("GET", "/model").text


def test_a_report_of_another_form_is_left_out(person: Browser, resources: Resources) -> None:
    """An older or newer build's document is no reason for an error page."""
    register(resources, '{"goals": []}')
    answer = person.request("GET", "/model")
    assert answer.status_code == 200
    assert "What was aimed at" not in answer.text
