"""What the film page says of a verdict, of an abstention and of a film that waits."""

from __future__ import annotations

import html
import re

import pytest
from sqlalchemy import update

from shared.db import jobs
from shared.db.tables import Model, WorkerHeartbeat
from shared.manifest import Rate, SplitMetrics
from tests.api import Api, Browser, make_key
from tests.fakes import LABELS, make_manifest
from tests.jobs import claim, claimant, finish, make_job, make_slow, register_model, serve_model
from tests.statements import hearing
from tests.unit.web.test_pages import finish_as
from web.present import explain_reason


@pytest.fixture
def person(api: Api) -> Browser:
    """A browser with a session."""
    return api.browse()


def test_a_film_page_is_read_in_one_snapshot(api: Api, person: Browser) -> None:
    """One transaction for the session's key, one for the job, one for all else."""
    begun: list[object] = []
    job_id = finish_as(api.resources, "normal")
    with hearing(api.resources.database, "begin", begun.append):
        assert person.request("GET", f"/jobs/{job_id}").status_code == 200
    assert len(begun) == 3


def test_an_empty_set_is_told_once_on_the_film_page(api: Api, person: Browser) -> None:
    """As a caution; no second sentence calls the film untypical of the label that it is given."""
    page = person.request(
        "GET", f"/jobs/{finish_as(api.resources, 'normal', prediction_set=[], reasons=['empty_set'])}"
    ).text
    assert page.count("The probability of this label is lower than for most films of it.") == 1
    assert page.index("<h2>Caution</h2>") < page.index("lower than for most films")


def test_a_caution_about_a_film_that_cannot_be_assessed_is_folded_away(api: Api, person: Browser) -> None:
    """Whether bones are dark is not known of what is hardly a film of a chest; it says how the scores came about."""
    reasons = ["not_frontal_chest", "polarity_corrected"]
    page = person.request("GET", f"/jobs/{finish_as(api.resources, 'not_assessable', reasons=reasons)}").text
    assert page.index('<details class="moot">') < page.index("<h2>Caution</h2>") < page.index("Calibrated probability")
    assert page.count("<h2>Caution</h2>") == 1


def test_a_label_stands_beside_how_often_its_model_was_right_elsewhere(api: Api, person: Browser) -> None:
    """And beside from where on it abstains for another finding; neither is told of a film without a label."""
    external = SplitMetrics(
        n=100,
        coverage=Rate(value=0.8, n=100, low=0.7, high=0.9),
        selective_accuracy=Rate(value=0.9, n=70, low=0.8, high=0.95),
    )
    limits = make_manifest().thresholds.model_copy(update={"max_other": dict.fromkeys(LABELS, 0.3)})
    measured = make_manifest().model_copy(update={"metrics": {"external": external}, "thresholds": limits})
    finished = finish_as(api.resources, "normal", other_probability=0.04)
    abstained = finish_as(api.resources, "uncertain", reasons=["low_probability"], other_probability=0.04)
    with api.resources.database.begin() as session:
        session.execute(update(Model).values(manifest=measured.model_dump_json()))
    page = person.request("GET", f"/jobs/{finished}").text
    assert "63 of the 80 labels that this model gave were correct" in page
    assert "another finding is 30.0\N{NO-BREAK SPACE}% or more, this model does not give the label Normal." in page
    assert "were correct" not in person.request("GET", f"/jobs/{abstained}").text


@pytest.mark.parametrize(
    ("reasons", "headline"),
    [
        (["other_finding"], "a finding outside its labels is too probable"),
        (["low_probability", "ambiguous_set"], "no label is probable enough"),
        (["ambiguous_set"], "more than one label is plausible"),
    ],
)
def test_the_headline_of_an_uncertain_film_is_its_first_reason(
    api: Api, person: Browser, reasons: list[str], headline: str
) -> None:
    """A film of 98 % that looks like an other finding is not told that no label is certain enough."""
    page = person.request("GET", f"/jobs/{finish_as(api.resources, 'uncertain', reasons=reasons)}").text
    assert f"The model abstains: {headline}</h2>" in page


@pytest.mark.parametrize("reason", ["other_finding", "low_probability"])
def test_a_headline_that_says_it_all_has_no_sentence_below(api: Api, person: Browser, reason: str) -> None:
    """The row in the worklist, which has no headline, gives the sentence."""
    page = person.request("GET", f"/jobs/{finish_as(api.resources, 'uncertain', reasons=[reason])}").text
    sentence = explain_reason(reason)
    assert sentence not in html.unescape(page)
    assert sentence in html.unescape(person.request("GET", "/").text)


def test_plausible_labels_are_named_once_on_the_page_and_in_the_row(api: Api, person: Browser) -> None:
    """In the banner, where they stand for the sentence of the reason; below the verdict nothing says it again."""
    job_id = finish_as(api.resources, "uncertain", prediction_set=["covid19", "normal"], reasons=["ambiguous_set"])
    for address in (f"/jobs/{job_id}", "/"):
        page = person.request("GET", address).text
        assert page.count("COVID-19 and Normal are both plausible.") == 1, address
        assert explain_reason("ambiguous_set") not in page


def test_a_waiting_film_says_when_no_worker_is_alive(api: Api, person: Browser) -> None:
    """Nothing moves as if it were read; once a worker lives the page is told so."""
    job_id = make_job(api.resources.database)
    page = person.request("GET", f"/jobs/{job_id}").text
    assert "No worker is alive" in page
    assert 'class="scan"' not in page
    seen = re.search(r"""hx-vals='{"seen": "([^"]+)"}'""", page)
    assert seen
    with api.resources.database.begin() as session:
        now = api.resources.database.now(session)
        model = register_model(api.resources.database)
        session.add(WorkerHeartbeat(worker="w1", queues="routine", model_sha256=model, device="cpu",
                                    started_at=now, polled_at=now))  # fmt: skip
    answer = person.request("GET", f"/jobs/{job_id}/findings?seen={seen[1]}")
    assert "No worker is alive" not in answer.text
    assert 'class="scan"' in answer.text


def test_while_a_film_waits_only_its_place_in_the_line_is_renewed(api: Api, person: Browser) -> None:
    """History and the question whether to delete may be open beside it; the whole comes once its state is another."""
    serve_model(api.resources.database)
    _, job_id = (make_job(api.resources.database) for _ in range(2))
    page = person.request("GET", f"/jobs/{job_id}").text
    assert "About 1 film ahead of it." in page
    finish(api.resources.database, claim(api.resources.database, claimant(limit=1))[0])
    address = f"/jobs/{job_id}/findings"
    moved = person.request("GET", address, query_string={"seen": seen_of(page)})
    assert moved.text.startswith('<div id="waiting"')
    assert "It is next in line." in moved.text
    assert "HX-Retarget" not in moved.headers
    assert "</article>" not in moved.text
    assert person.request("GET", address, query_string={"seen": seen_of(moved.text)}).status_code == 204
    claim(api.resources.database)
    taken = person.request("GET", address, query_string={"seen": seen_of(moved.text)})
    assert taken.headers["HX-Retarget"] == "#findings"
    assert '<article id="findings" class="findings" data-status="running"' in taken.text


def test_without_scripts_a_waiting_film_is_looked_at_again_by_a_link(api: Api, person: Browser) -> None:
    """And the page does not promise to change by itself."""
    job_id = make_job(api.resources.database)
    serve_model(api.resources.database)
    page = person.request("GET", f"/jobs/{job_id}").text
    assert re.search(rf'<noscript>.*<a class="plain" href="/jobs/{job_id}">Look again</a></p></noscript>', page)
    assert '<span class="scripted"> This page shows the verdict as soon as there is one.</span>' in page


def seen_of(page: str) -> str:
    """What a waiting page remembers of its job."""
    found = re.search(r"""hx-vals='{"seen": "([^"]+)"}'""", page)
    assert found
    return html.unescape(found[1])


def test_the_map_of_a_film_that_cannot_be_assessed_is_folded_away_with_its_scores(api: Api, person: Browser) -> None:
    """Neither means anything for it; a map that was asked for opens the fold."""
    job_id = finish_as(api.resources, "not_assessable", reasons=["low_contrast"])
    page = person.request("GET", f"/jobs/{job_id}").text
    assert page.index('<details class="moot">') < page.index('id="heatmap"') < page.index("</details>")
    assert '<details class="moot" open>' in person.request("GET", f"/jobs/{job_id}?map=grad_cam").text


def test_without_scripts_a_map_that_means_nothing_is_left_out_unless_it_was_asked_for(
    api: Api, person: Browser
) -> None:
    """Beside a film that cannot be assessed stands none; an address that names a map has it."""
    job_id = finish_as(api.resources, "not_assessable", reasons=["low_contrast"])
    assert noscript_maps(person.request("GET", f"/jobs/{job_id}").text) == []
    asked = person.request("GET", f"/jobs/{job_id}?map=grad_cam").text
    assert noscript_maps(asked) == [f"/api/v1/jobs/{job_id}/explanations/grad_cam"]
    assessable = person.request("GET", f"/jobs/{finish_as(api.resources, 'normal')}").text
    assert len(noscript_maps(assessable)) == 1


def noscript_maps(html: str) -> list[str]:
    """Addresses of the maps that the page shows where scripts are off."""
    found = re.search(r"<noscript.*?</noscript>", html, re.DOTALL)
    assert found
    return re.findall(r'src="([^"]+/explanations/\w+)"', found[0])


def test_a_key_that_may_only_look_sees_no_control_that_changes_anything(api: Api) -> None:
    """An auditor can choose a map that is there, and neither sends, cancels, asks nor measures."""
    finished = finish_as(api.resources, "normal")
    waiting = make_job(api.resources.database)
    key = make_key(api.resources.database, role="auditor")
    auditor = Api(api.resources, key).browse()
    page = auditor.request("GET", "/").text
    assert 'id="upload"' not in page
    assert "js/upload.js" not in page
    assert "Cancel this job" not in auditor.request("GET", f"/jobs/{waiting}").text
    page = auditor.request("GET", f"/jobs/{finished}?map=gradient").text
    assert "hx-post" not in page
    assert re.findall(r'method="post" action="([^"]+)"', page) == ["/leave"]  # its own session
    assert '<select id="method" name="map"' in page
    assert "read-only access" in page


def test_a_page_without_a_session_carries_no_token(api: Api) -> None:
    """In particular not the words for a function."""
    page = api.app.test_client().get("/problems").text
    assert "csrf-token" not in page
    assert "generate_csrf" not in page


def test_a_film_that_waits_says_for_how_long(api: Api, person: Browser) -> None:
    """Beside its place in the line, at the rate of the last minute; where nothing was finished lately, nothing."""
    waiting = make_job(api.resources.database)
    assert "likely within" not in person.request("GET", f"/jobs/{waiting}").text
    claim(api.resources.database)
    for _ in range(6):
        make_job(api.resources.database)
        finish(api.resources.database, claim(api.resources.database)[0])  # six a minute
    make_slow(api.resources.database, 60)
    serve_model(api.resources.database)
    waiting = [make_job(api.resources.database) for _ in range(2)]
    rated = Api(api.resources, api.key).browse()
    first, second = (rated.request("GET", f"/jobs/{job_id}").text for job_id in waiting)
    assert "It is next in line. A verdict is likely within 10 s." in first
    assert "About 1 film ahead of it. A verdict is likely within 20 s." in second
    seen = html.unescape(re.findall(r"hx-vals='{\"seen\": \"(.*?)\"}'", second)[0])
    assert rated.request("GET", f"/jobs/{waiting[1]}/findings?seen={seen}").status_code == 204


@pytest.mark.parametrize(("code", "is_gone"), [("blob_missing", True), ("poisoned", False)])
def test_what_needs_a_film_that_is_gone_is_not_offered(api: Api, person: Browser, code: str, *, is_gone: bool) -> None:
    """Neither to load it nor to classify it again; it has to be sent again."""
    job_id = make_job(api.resources.database)
    (held,) = claim(api.resources.database)
    with jobs.changing(api.resources.database) as changes:
        changes.fail(held, "w1", code, "It failed.")
    page = person.request("GET", f"/jobs/{job_id}").text
    told = {"data-gone=" in page, "film (PNG)" not in page, "Classify again" not in page}
    assert told == {is_gone}


def test_what_decided_stands_first_with_its_limit(api: Api, person: Browser) -> None:
    """Of a film held back for another finding; the labels among themselves follow, in no label's colour."""
    limits = make_manifest().thresholds.model_copy(update={"max_other": dict.fromkeys(LABELS, 0.3)})
    register_model(api.resources.database)
    manifest = make_manifest().model_copy(update={"thresholds": limits}).model_dump_json()
    with api.resources.database.begin() as session:
        session.execute(update(Model).values(manifest=manifest))
    held = finish_as(api.resources, "uncertain", reasons=["other_finding"], other_probability=0.41)
    given = finish_as(api.resources, "normal", other_probability=0.1)
    pages = [person.request("GET", f"/jobs/{job_id}").text for job_id in (held, given)]
    places = [(page.index("nother finding</span>"), page.index('class="bar-label">Normal<')) for page in pages]
    assert [other < label for other, label in places] == [True, False]
    assert ['class="bars faint"' in page for page in pages] == [True, False]
    assert all('<rect class="limit" x="30.00%"' in page for page in pages)
