"""The film page's heatmap: chosen by a plain form, told while it waits, then shown with what it is worth."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from shared.db.tables import Explanation, Result, WorkerHeartbeat
from shared.imaging.heatmap import MAX_ALPHA
from tests.api import Api, Browser
from tests.explanations import explain, fail_explanation, make_explanation, make_result, take
from tests.jobs import make_job

CAUTION = "not where disease is."


@pytest.fixture
def person(api: Api) -> Browser:
    """A browser with a session."""
    return api.browse()


@pytest.fixture
def job_id(api: Api) -> str:
    """A film with a verdict, most probably 'normal'."""
    return make_result(api.resources.database)


def show(person: Browser, job_id: str, method: str = "gradient", form: str = "picker", **headers: str) -> TestResponse:
    """Press Show, or the button of another form, with the token of that form."""
    page = person.request("GET", f"/jobs/{job_id}").text
    found = re.search(rf'<form class="{form}".*?</form>', page, re.DOTALL)
    assert found
    token = re.search(r'name="csrf_token" value="([^"]+)"', found[0])
    address = re.search(r'action="([^"]+)"', found[0])
    assert token
    assert address
    body = {"csrf_token": token[1], "method": method}
    return person.request("POST", address[1], headers, data=body)


def page(person: Browser, job_id: str, method: str = "gradient") -> str:
    """The film page with a map chosen."""
    answer = person.request("GET", f"/jobs/{job_id}?map={method}")
    assert answer.status_code == 200
    return answer.text


def options(html: str) -> dict[str, str]:
    """The picker's methods and words; the chosen one's are marked with a star."""
    found = re.findall(r'<option value="(\w+)"[^>]*?( selected)?>([^<]+)</option>', html)
    return {value: words + ("*" if chosen else "") for value, chosen, words in found}


def test_the_verdicts_map_is_shown_first_beside_the_other_methods(person: Browser, job_id: str) -> None:
    """Grad-CAM is ready and chosen; it has not been measured, and a button offers to."""
    html = person.request("GET", f"/jobs/{job_id}").text
    assert options(html) == {
        "grad_cam": "Grad-CAM (ready)*",
        "grad_cam_plus_plus": "Grad-CAM++",
        "smooth_grad": "SmoothGrad",
        "integrated_gradients": "Integrated gradients",
        "gradient": "Gradient",
    }
    assert f'data-heatmap="/api/v1/jobs/{job_id}/explanations/grad_cam"' in html
    assert CAUTION in html
    assert "Measure it" in html
    assert "Random orders" not in html
    assert "influence on the score for <em>Normal</em>" in html


def test_the_colour_bar_is_as_see_through_as_the_overlay(person: Browser, job_id: str) -> None:
    """Over grey, from nothing up to what the overlay's highest value has."""
    html = person.request("GET", f"/jobs/{job_id}").text
    found = [float(value) for value in re.findall(r'stop-opacity="([^"]+)"', html)]
    assert (found[0], found[-1]) == (0, MAX_ALPHA)
    assert found == sorted(found)


def test_show_asks_for_the_map_and_leads_back_to_it(api: Api, person: Browser, job_id: str) -> None:
    """Without JavaScript: 303 to the film page with the method chosen, which says that it waits and where to look."""
    answer = show(person, job_id)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{job_id}?map=gradient#heatmap")
    html = page(person, job_id)
    assert options(html)["gradient"] == "Gradient (waiting)*"
    assert "No worker that computes heatmaps is running" in html
    assert f'<noscript><p><a class="plain" href="/jobs/{job_id}?map=gradient">Look again</a>' in html
    assert '<span class="scripted"> This page shows the heatmap as soon as it is ready.</span>' in html
    assert "data-heatmap=" not in html
    assert 'id="opacity"' not in html
    with api.resources.database.read() as session:
        assert session.scalars(select(Explanation.method)).all() == ["gradient"]


def test_a_script_gets_the_section_alone_and_the_address_to_keep(person: Browser, job_id: str) -> None:
    """With JavaScript the answer takes the section's place, and asks for itself until the map is there."""
    answer = show(person, job_id, **{"HX-Request": "true"})
    assert answer.status_code == 200
    assert answer.headers["HX-Replace-Url"] == f"/jobs/{job_id}?map=gradient"
    assert answer.text.lstrip().startswith('<section id="heatmap"')
    assert f'hx-get="/jobs/{job_id}/heatmap?map=gradient&amp;seen=queued.0" hx-trigger="every 1s"' in answer.text
    assert "hx-vals" not in answer.text  # htmx would send them with the forms inside, too


def test_a_map_that_waits_is_asked_for_until_it_is_there(api: Api, person: Browser, job_id: str) -> None:
    """Unchanged it answers 204; taken by a worker, done: a section each time, the last of which asks no more."""
    make_explanation(api.resources.database, job_id)

    def poll(seen: str) -> TestResponse:
        return person.request("GET", f"/jobs/{job_id}/heatmap?map=gradient&seen={seen}")

    assert poll("queued.0").status_code == 204
    assert "A worker is making it" not in poll("none").text
    order = take(api.resources.database)
    assert order is not None
    assert "A worker is computing it (attempt 1)." in poll("queued.0").text
    assert poll("running.1").status_code == 204


def test_a_map_that_is_done_is_shown_with_what_it_is_worth(api: Api, person: Browser, job_id: str) -> None:
    """Overlay and caution, deletion and insertion beside random order, agreement, stability and the border's share."""
    show(person, job_id)
    explain(api.resources.database, agreement=0.4, stability=0.93)
    html = page(person, job_id)
    assert options(html)["gradient"] == "Gradient (ready)*"
    assert f'data-heatmap="/api/v1/jobs/{job_id}/explanations/gradient"' in html
    assert f'<img src="/api/v1/jobs/{job_id}/explanations/gradient"' in html
    assert CAUTION in html
    for words in (
        "Mean probability of Normal",
        "31.0\N{NO-BREAK SPACE}%",
        "72.0\N{NO-BREAK SPACE}%",
        "58.0\N{NO-BREAK SPACE}%",
        "lower is better",
        "higher is better",
    ):
        assert words in html
    assert "the score depends on what the heatmap marks." in html
    assert "<dt>Agreement with Grad-CAM</dt><dd>0.40, weak</dd>" in html
    assert "<dt>Stability under slight noise</dt><dd>0.93, close</dd>" in html
    assert (
        "25.0\N{NO-BREAK SPACE}% of it lies in the outer tenth on each side of the film; "
        "in a uniform heatmap it would be 36&nbsp;%." in html
    )
    assert (
        html.index("the score depends on what the heatmap marks.")
        < html.index("<summary>The numbers</summary>")
        < html.index("Random orders")
    )
    assert "strongest 1&nbsp;% of its values share one colour" in html
    assert "hx-get" not in html


def test_the_verdicts_map_stays_in_sight_while_it_is_measured(api: Api, person: Browser, job_id: str) -> None:
    """The overlay is there before, while and after; then its numbers are, too, and the button is not."""
    show(person, job_id, "grad_cam", "worth")
    waiting = page(person, job_id, "grad_cam")
    explain(api.resources.database)
    measured = page(person, job_id, "grad_cam")
    for html in (waiting, measured):
        assert f'data-heatmap="/api/v1/jobs/{job_id}/explanations/grad_cam"' in html
        assert "Measure it" not in html
    assert "This page shows the numbers as soon as they are ready." in waiting
    assert "Random order" in measured
    assert "strongest 1&nbsp;%" not in measured


def test_a_map_that_is_there_is_shown_and_not_asked_for_again(api: Api, person: Browser, job_id: str) -> None:
    """Going back to the verdict's own map, or to one that was made, has no worker measure anything."""
    show(person, job_id)
    explain(api.resources.database)
    for method in ("grad_cam", "gradient"):
        answer = show(person, job_id, method)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{job_id}?map={method}#heatmap")
    with api.resources.database.read() as session:
        assert session.execute(select(Explanation.method, Explanation.state)).all() == [("gradient", "succeeded")]


def test_a_failed_map_says_why_and_how_to_try_again(api: Api, person: Browser, job_id: str) -> None:
    """Its code with a link, its sentence with markup left as text; Show puts it back into the queue."""
    show(person, job_id)
    fail_explanation(api.resources.database)
    html = page(person, job_id)
    assert "No heatmap: <code>model_replaced</code>" in html
    assert "It &lt;b&gt;cannot&lt;/b&gt; be explained." in html
    assert 'href="/problems#model_replaced"' in html
    assert "data-heatmap=" not in html
    show(person, job_id)
    assert options(page(person, job_id))["gradient"] == "Gradient (waiting)*"


def test_a_map_that_says_nothing_is_told_and_not_drawn(api: Api, person: Browser, job_id: str) -> None:
    """The reason in words, no overlay, no slider, and no numbers: noise in a comparison would pass for a merit."""
    show(person, job_id)
    explain(api.resources.database, is_degenerate=True, degenerate_reason="one_corner", agreement=None)
    html = page(person, job_id)
    assert "Nearly all of the raw map lies in one corner of the film." in html
    assert "data-heatmap=" not in html
    assert "random orders" not in html
    assert "outer tenth" not in html


def test_a_method_nobody_asked_for_is_offered(person: Browser, job_id: str) -> None:
    """By address: the page says that there is no map yet, and asks for none by being opened."""
    html = page(person, job_id, "smooth_grad")
    assert "This heatmap has not been computed yet." in html
    assert "hx-get" not in html


def test_a_map_without_a_known_reason_is_not_guessed_at(api: Api, person: Browser, job_id: str) -> None:
    """The verdict's own map has a flag only."""
    with api.resources.database.begin() as session:
        session.get_one(Result, job_id).is_degenerate = True
    html = person.request("GET", f"/jobs/{job_id}").text
    assert "The raw map is empty, constant, or all in one corner. It says nothing about this film." in html


def test_a_living_worker_is_waited_for_without_alarm(api: Api, person: Browser, job_id: str) -> None:
    """Films come first, and that is all."""
    with api.resources.database.begin() as session:
        now = api.resources.database.now(session)
        session.add(WorkerHeartbeat(worker="w1", queues="stat,explain", model_sha256="f" * 64, device="cpu",
                                    started_at=now, polled_at=now))  # fmt: skip
    show(person, job_id)
    html = page(person, job_id)
    assert "Waiting for a worker; classifying films takes priority." in html
    assert "No worker that computes heatmaps" not in html


def test_a_request_without_its_token_is_refused(api: Api, person: Browser, job_id: str) -> None:
    """Another site's form changes nothing."""
    answer = person.request("POST", f"/jobs/{job_id}/explanations", data={"method": "gradient"})
    assert answer.status_code == 403
    with api.resources.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Explanation)) == 0


def test_bad_choices_are_pages_that_say_so(api: Api, person: Browser, job_id: str) -> None:
    """An unknown method, a film without a result, a film that is not there."""
    accept = {"Accept": "text/html"}
    assert show(person, job_id, "guess", **accept).status_code == 400
    assert person.request("GET", f"/jobs/{job_id}?map=guess", accept).status_code == 400
    waiting = make_job(api.resources.database)
    body = {"csrf_token": person.csrf_token(), "method": "gradient"}
    refused = person.request("POST", f"/jobs/{waiting}/explanations", accept, data=body)
    assert (refused.status_code, "There is no result to explain" in refused.text) == (409, True)
    assert person.request("GET", f"/jobs/{waiting}/heatmap", accept).status_code == 404
    assert person.request("GET", "/jobs/nonsense/heatmap", accept).status_code == 404


def test_a_film_without_a_verdict_has_no_picker(api: Api, person: Browser) -> None:
    """There is nothing to explain yet."""
    html = person.request("GET", f"/jobs/{make_job(api.resources.database)}").text
    assert 'id="heatmap"' not in html


def test_the_section_holds_nothing_that_the_policy_forbids(api: Api, person: Browser, job_id: str) -> None:
    """In none of its states: no inline script, style or handler."""
    states = [page(person, job_id)]
    show(person, job_id)
    states.append(page(person, job_id))
    explain(api.resources.database)
    states.append(page(person, job_id))
    for html in states:
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=|hx-on|javascript:", html)


def test_the_verdicts_map_stays_ready_while_it_is_measured(api: Api, person: Browser, job_id: str) -> None:
    """It is on the screen, so the picker does not call it waiting; each option carries what its method shows."""
    show(person, job_id, "grad_cam", form="worth")
    html = page(person, job_id, "grad_cam")
    assert options(html)["grad_cam"] == "Grad-CAM (ready, to be measured)*"
    assert 'data-map-say="Grad-CAM is shown, to be measured."' in html
    assert take(api.resources.database) is not None
    html = page(person, job_id, "grad_cam")
    assert options(html)["grad_cam"] == "Grad-CAM (ready, being measured)*"
    assert len(re.findall(r'<option [^>]*data-words="(?:Pixels: |Regions: |Regions, )', html)) == 5
    assert re.findall(r'<option value="(\w+)"[^>]* data-ready', html) == ["grad_cam"]


def test_what_lies_over_the_film_has_one_name(api: Api, person: Browser, job_id: str) -> None:
    """A heatmap, whatever became of it, in text and to those who listen; a map is the raw one alone."""
    found = [person.request("GET", f"/jobs/{job_id}").text, page(person, job_id)]
    show(person, job_id)
    found.append(page(person, job_id))
    explain(api.resources.database)
    found.append(page(person, job_id))
    spoken = [
        re.findall(r'>([^<]+)<|(?:aria-label|title|alt|data-words|data-map-say)="([^"]*)"', html) for html in found
    ]
    words = " ".join(part for each in spoken for pair in each for part in pair)
    assert "eatmap" in words
    assert re.findall(r"(?<!raw )\b[Mm]aps?\b|\boverlay\b", words) == []
