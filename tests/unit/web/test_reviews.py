"""Reviews over the API, on the film page, in the worklist, on the model page and in the table."""

from __future__ import annotations

import csv
import io
import re

import pytest
from werkzeug.test import TestResponse

from shared import wire
from shared.wiring import Resources
from tests.api import Api, Browser, make_key, make_tenant
from tests.api_answers import problem
from tests.api_cases import UNKNOWN, say
from tests.jobs import make_job
from tests.unit.web.test_pages import finish_as


@pytest.fixture
def reviewer(api: Api) -> Api:
    """A caller with a reviewer's key."""
    return caller(api, "reviewer")


def caller(api: Api, role: str, tenant: str = "default") -> Api:
    """Another key of the same service."""
    return Api(api.resources, make_key(api.resources.database, role=role, tenant=tenant))


def answer(api: Api, verdict: str = "normal") -> str:
    """A job with this verdict."""
    return finish_as(api.resources, verdict)


def listed(api: Api, job_id: str) -> list[wire.Review]:
    """What the API lists."""
    return wire.ReviewList.model_validate_json(api.get(f"/api/v1/jobs/{job_id}/reviews").data).reviews


def form(person: Browser, job_id: str, label: str, query: str = "") -> TestResponse:
    """The film page's form."""
    said = {"csrf_token": person.csrf_token(), "label": label}
    return person.request("POST", f"/jobs/{job_id}/review{query}", data=said)


def section(person: Browser, job_id: str) -> str:
    """The film page's part about readers, spaces made single; empty where there is none."""
    page = person.request("GET", f"/jobs/{job_id}").text
    found = re.search(r'<section class="review".*?</section>', page, re.DOTALL)
    return " ".join(found[0].split()) if found else ""


def buttons(html: str) -> list[str]:
    """The labels that can be chosen."""
    return re.findall(r'name="label" value="(\w+)"', html)


# -- API ---------------------------------------------------------------------------------------------------------------


def test_a_review_is_listed_with_the_id_of_its_key(reviewer: Api) -> None:
    """Label, whether it agrees, of which model and by whom; never the key."""
    job_id = answer(reviewer)
    given = wire.Review.model_validate_json(say(reviewer, job_id, "covid19").data)
    assert listed(reviewer, job_id) == [given]
    assert (given.label, given.agrees, given.verdict) == ("covid19", False, "normal")
    assert given.reader == str(reviewer.key).split("_")[1]
    assert str(reviewer.key) not in reviewer.get(f"/api/v1/jobs/{job_id}/reviews").text


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("reviewer", 200), ("uploader", 403), ("auditor", 403)])
def test_reviewers_and_admins_review_and_all_may_look(api: Api, role: str, status: int) -> None:
    """The others are refused, over the API and by the form, and nothing is kept."""
    job_id, asking = answer(api), caller(api, role)
    assert say(asking, job_id).status_code == status
    assert form(asking.browse(), job_id, "normal").status_code == (303 if status == 200 else status)
    assert len(listed(asking, job_id)) == (status == 200)


def test_what_cannot_be_reviewed_is_refused(api: Api, reviewer: Api) -> None:
    """409 without a result, 404 of another tenant's and of none, 410 of a deleted one, 400 of any other word."""
    waiting = make_job(api.resources.database)
    problem(say(reviewer, waiting), 409, "conflict")
    assert listed(reviewer, waiting) == []
    api.request("DELETE", f"/api/v1/jobs/{waiting}")
    job_id, gone = answer(api), answer(api)
    api.request("DELETE", f"/api/v1/jobs/{gone}")
    make_tenant(api.resources.database, "clinic")
    for asking, of_job, status, code in (
        (caller(api, "admin", "clinic"), job_id, 404, "job_not_found"),
        (reviewer, UNKNOWN, 404, "job_not_found"),
        (reviewer, "no-id", 404, "job_not_found"),
        (reviewer, gone, 410, "job_deleted"),
    ):
        problem(say(asking, of_job), status, code)
        problem(asking.get(f"/api/v1/jobs/{of_job}/reviews"), status, code)
    for body in ({"label": "uncertain"}, {"label": "normal", "note": "a name"}, {}, None):
        problem(reviewer.request("POST", f"/api/v1/jobs/{job_id}/reviews", json=body), 400, "invalid_request")
    assert listed(reviewer, job_id) == []


# -- the film page -----------------------------------------------------------------------------------------------------


def test_the_film_page_asks_keeps_and_lets_change(reviewer: Api) -> None:
    """By a form without scripts that leads back to where it was; without its token nothing is kept."""
    job_id, person = answer(reviewer), reviewer.browse()
    asked = section(person, job_id)
    assert "What do you see?" in asked
    assert buttons(asked) == ["covid19", "normal", "viral_pneumonia", "other_finding", "not_assessable"]
    assert person.request("POST", f"/jobs/{job_id}/review", data={"label": "normal"}).status_code == 403
    assert listed(reviewer, job_id) == []
    kept = form(person, job_id, "normal", "?map=gradient")
    assert (kept.status_code, kept.headers["Location"]) == (303, f"/jobs/{job_id}?map=gradient#review")
    said = section(person, job_id)
    assert "You said: Normal</h2>" in said
    assert "Seen:" not in said
    assert buttons(said) == ["covid19", "viral_pneumonia", "other_finding", "not_assessable"]
    assert form(person, job_id, "other_finding").headers["Location"] == f"/jobs/{job_id}#review"
    assert "You said: Other finding</h2>" in section(person, job_id)
    assert len(listed(reviewer, job_id)) == 1
    assert form(person, job_id, "uncertain").status_code == 400


def test_what_others_said_is_shown_after_ones_own_word(api: Api, reviewer: Api) -> None:
    """To who may not review at once; where nobody has said anything there is nothing to show."""
    job_id, auditor = answer(api), caller(api, "auditor").browse()
    assert section(auditor, job_id) == ""
    say(api, job_id, "covid19")
    told = "0 of 1 reader agrees with the verdict. Seen: COVID-19 (1)."
    assert told in section(auditor, job_id)
    assert buttons(section(auditor, job_id)) == []
    person = reviewer.browse()
    assert "Seen:" not in section(person, job_id)
    form(person, job_id, "normal")
    assert "1 of 2 readers agree with the verdict. Seen: COVID-19 (1), Normal (1)." in section(person, job_id)


def test_with_an_abstention_nobody_agrees_or_disagrees(api: Api) -> None:
    """It is told what readers saw, outside of what is folded away; a film that waits asks nothing."""
    job_id = answer(api, "not_assessable")
    say(api, job_id, "normal")
    auditor = caller(api, "auditor").browse()
    assert "1 reader said what they see: Normal (1)." in section(auditor, job_id)
    page = auditor.request("GET", f"/jobs/{job_id}").text
    assert page.index('class="review"') < page.index('<details class="moot">')
    assert section(api.browse(), make_job(api.resources.database)) == ""


# -- the worklist ------------------------------------------------------------------------------------------------------


def marks(html: str) -> dict[str, str]:
    """The mark of each row that has one."""
    rows = re.findall(r'data-job="([0-9a-f-]{36})"(.*?)</tr>', html, re.DOTALL)
    found = {job_id: re.search(r"class=\"mark mark-(\w+)\".*?</svg>([\w ]+)</span>", row) for job_id, row in rows}
    return {job_id: f"{mark[1]}: {mark[2]}" for job_id, mark in found.items() if mark}


def test_rows_are_marked_by_what_readers_said(api: Api, reviewer: Api) -> None:
    """One that disagrees outweighs those who agree; an abstention is just reviewed; the others have no mark."""
    agreed, disputed, abstained, unread = (answer(api, v) for v in ("normal", "normal", "uncertain", "normal"))
    for job_id in (agreed, disputed, abstained):
        say(api, job_id)
    say(reviewer, disputed, "other_finding")
    found = marks(api.browse().request("GET", "/").text)
    assert found == {
        agreed: "agreed: Reader agrees",
        disputed: "disagreed: Reader disagrees",
        abstained: "reviewed: Reviewed",
    }
    assert unread not in found


def test_a_reviewer_is_not_told_by_the_list_what_others_saw(api: Api, reviewer: Api) -> None:
    """Beside the verdict that would be their answer: before its own one a film is reviewed, and no more is said."""
    job_id = answer(api)
    say(api, job_id, "other_finding")
    person = reviewer.browse()
    assert marks(person.request("GET", "/").text) == {job_id: "reviewed: Reviewed"}
    say(reviewer, job_id)
    assert marks(person.request("GET", "/").text) == {job_id: "disagreed: Reader disagrees"}


def test_a_row_that_comes_later_has_its_mark(api: Api) -> None:
    """The live list's rows are drawn alike."""
    job_id, person = answer(api), api.browse()
    say(api, job_id)
    live = person.request("GET", f"/live?shown=&waiting={job_id}.queued").text
    assert marks(live) == {job_id: "agreed: Reader agrees"}


def test_films_that_nobody_reviewed_are_a_filter(api: Api, reviewer: Api) -> None:
    """Answered ones alone, beside every other filter, in the list, the table and the worklist; nothing else passes."""
    read, unread, abstained = answer(api), answer(api), answer(api, "uncertain")
    make_job(api.resources.database)
    say(reviewer, read)

    def ids(query: str) -> list[str]:
        return [job["id"] for job in (api.get(f"/api/v1/jobs?reviewed=no{query}").json or {})["jobs"]]

    assert ids("") == [abstained, unread]
    assert ids("&verdict=normal") == [unread]
    assert ids("&status=queued") == []
    assert ids(f"&batch={UNKNOWN}") == []
    page = api.browse().request("GET", "/?reviewed=no&verdict=normal").text
    assert re.findall(r'<tr role="row" id="job-([0-9a-f-]+)"', page) == [unread]
    assert 'data-reviewed-filter="no"' in page
    assert re.search(r'<a href="/\?verdict=normal" aria-current="true">Reviewed by nobody', page)
    assert re.search(r'href="/\?verdict=normal&amp;reviewed=no" aria-current="true"', page)
    assert api.get("/api/v1/jobs?reviewed=yes").status_code == 400


def test_a_film_that_is_reviewed_goes_from_an_open_list_of_those_that_are_not(api: Api) -> None:
    """It passes the filter no more; where it stayed, an older film that moves up would be sent again and again."""
    read, unread = answer(api), answer(api)
    say(api, read)
    person = api.browse()

    def gone(query: str) -> list[str]:
        page = person.request("GET", f"/live?shown={read}+{unread}{query}").text
        return re.findall(r'<tr id="job-([^"]+)" hx-swap-oob="delete">', page)

    assert gone("&reviewed=no") == [read]
    assert gone("") == []


def test_the_table_has_the_labels_at_its_end(api: Api, reviewer: Api) -> None:
    """By spaces, the oldest first; empty where nobody said anything."""
    read, unread = answer(api), answer(api)
    say(api, read, "covid19")
    say(reviewer, read, "normal")
    rows = list(csv.DictReader(io.StringIO(api.get("/api/v1/jobs.csv").text, newline="")))
    assert {row["id"]: row["reviews"] for row in rows} == {read: "covid19 normal", unread: ""}
    assert list(rows[0])[-1] == "reviews"


# -- the model page ----------------------------------------------------------------------------------------------------


def readers(api: Api) -> str:
    """The model page's part about readers, spaces made single."""
    page = " ".join(api.browse().request("GET", "/model").text.split())
    return page[page.index('<h2 id="readers">') : page.index('<h2 id="trained">')]


def test_the_model_page_says_how_many_readers_agreed(api: Api, reviewer: Api) -> None:
    """Films and readings, a share with its interval, and the table; kappa from twenty films on; a tenant's own."""
    jobs = [answer(api, "normal" if i % 2 else "covid19") for i in range(20)]
    assert "No film that this model classified has been reviewed yet" in readers(api)
    say(api, answer(api, "uncertain"))
    assert "Of the films" not in readers(api)
    for job_id in jobs[:19]:
        say(api, job_id)
    say(reviewer, jobs[1])
    told = readers(api)
    assert "<strong>19 were reviewed</strong>, by 20 readings. In 50.0 % (" in told
    assert "kappa is shown once 20 films have been reviewed" in told
    say(api, jobs[19])
    told = readers(api)
    assert "kappa between model and readers is 0.00." in told
    row = '<tr><th scope="row">COVID-19</th><td class="number shade-0">0</td><td class="number shade-5">10</td>'
    assert row in told
    make_tenant(api.resources.database, "clinic")
    assert "has been reviewed yet" in readers(caller(api, "admin", "clinic"))


def test_kappa_that_is_not_defined_is_said_to_be(api: Api) -> None:
    """Twenty films of one verdict that all readers saw likewise."""
    for _ in range(20):
        say(api, answer(api))
    assert "kappa is undefined" in readers(api)


def test_the_page_without_a_model_stands(small: Resources) -> None:
    """Before a worker has started there is nothing to agree with."""
    api = Api(small, make_key(small.database))
    assert "No worker has started yet" in api.browse().request("GET", "/model").text
