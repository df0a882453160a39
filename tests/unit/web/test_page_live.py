"""What a shown worklist is told: its rows that changed, those that go, those that it lacks, and the counts."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from tests.api import Api, Browser, make_tenant
from tests.jobs import claim, finish, make_job
from tests.unit.web.test_pages import rows


@pytest.fixture
def person(api: Api) -> Browser:
    """A browser with a session."""
    return api.browse()


def ask(person: Browser, **known: str) -> str:
    """The answer to a worklist that knows so much."""
    return person.request("GET", f"/live?{urlencode(known)}").text


def test_live_answers_only_rows_whose_status_changed(api: Api, person: Browser) -> None:
    """Of two shown films the one that went on comes back, marked for its place; the other does not."""
    first, second = make_job(api.resources.database), make_job(api.resources.database)
    [held] = claim(api.resources.database)[:1]
    waiting = f"{held.id}.queued {second if held.id == first else first}.running"
    answer = ask(person, waiting=waiting)
    assert rows(answer) == [held.id]
    assert 'data-status="running" data-say="Film' in answer
    assert re.search(rf'<tr [^>]*id="job-{held.id}"[^>]*hx-swap-oob="true"', answer)


def test_live_brings_the_films_of_the_first_page_that_are_not_shown(api: Api, person: Browser) -> None:
    """Those that came since, and those that move up where a row went; on an older page none."""
    older, shown, newer = (make_job(api.resources.database) for _ in range(3))
    answer = ask(person, waiting=f"{shown}.queued")
    assert rows(answer) == [newer, older]
    assert 'hx-swap-oob="afterbegin:#rows"' in answer
    on_older_page = ask(person, waiting=f"{older}.queued", cursor=shown)
    assert rows(on_older_page) == []


def test_live_takes_away_rows_that_no_longer_pass_the_filter(api: Api, person: Browser) -> None:
    """Among the queued films, one that is read now goes, and so does one that is no longer there."""
    running, lost = make_job(api.resources.database), "00000000-0000-7000-8000-000000000000"
    claim(api.resources.database)
    shown = f"{running}.queued {lost}.queued {(queued := make_job(api.resources.database))}.queued"
    answer = ask(person, waiting=shown, status="queued")
    assert set(re.findall(r'<tr id="job-([^"]+)" hx-swap-oob="delete">', answer)) == {running, lost}
    assert rows(answer) == []
    assert queued not in answer


def test_live_tells_nobody_which_films_other_tenants_have(api: Api) -> None:
    """A row of another tenant's goes as one does that never was; its own stays."""
    mine, unknown = make_job(api.resources.database), "00000000-0000-7000-8000-000000000000"
    make_tenant(api.resources.database, "clinic")
    theirs = make_job(api.resources.database, tenant="clinic")
    answer = ask(api.browse(), shown=f"{mine} {theirs} {unknown}")
    assert set(re.findall(r'<tr id="job-([^"]+)" hx-swap-oob="delete">', answer)) == {theirs, unknown}


def test_live_takes_no_more_than_a_page_can_show(person: Browser) -> None:
    """Each that is no longer on the page is asked about by itself."""
    entries = " ".join(["a.b"] * 300)
    assert person.request("GET", f"/live?{urlencode({'waiting': entries})}").status_code == 400


@pytest.mark.parametrize("known", ["\0", "\0.queued", "<b>", "\u2028"])
@pytest.mark.parametrize("name", ["shown", "waiting"])
def test_live_refuses_what_no_row_can_say(person: Browser, name: str, known: str) -> None:
    """Ids and states alone: of other signs PostgreSQL takes not even the question."""
    assert person.request("GET", f"/live?{urlencode({name: known})}").status_code == 400


def test_live_tells_the_counts_of_all_states(api: Api, person: Browser) -> None:
    """The counts of the filters follow: one queued, one succeeded, two in all."""
    make_job(api.resources.database)
    finish(api.resources.database, claim(api.resources.database)[0])
    make_job(api.resources.database)
    answer = ask(person)
    counts = dict(re.findall(r'id="count-(\w+)" class="count" hx-swap-oob="true">(\d+)<', answer))
    assert (counts["queued"], counts["succeeded"], counts["failed"], counts["all"]) == ("1", "1", "0", "2")


def test_live_says_when_no_worker_is_alive(person: Browser) -> None:
    """Films that would wait for ever are not shown as if all were well."""
    assert "No worker is alive" in ask(person)


def test_films_that_were_sent_and_are_gone_are_named(api: Api, person: Browser) -> None:
    """Another tenant's as one that never was; each in the order in which it was asked for, however it stands."""
    mine, unknown = make_job(api.resources.database), "00000000-0000-7000-8000-000000000000"
    make_tenant(api.resources.database, "clinic")
    theirs = make_job(api.resources.database, tenant="clinic")
    asked = person.request("GET", f"/gone?{urlencode({'jobs': f'{unknown} {mine} {theirs}'})}")
    assert (asked.status_code, asked.json) == (200, [unknown, theirs])


@pytest.mark.parametrize("jobs", ["\0", "<b>", " ".join(["00000000-0000-7000-8000-000000000000"] * 101)])
def test_a_question_for_gone_films_takes_ids_alone_and_not_too_many(person: Browser, jobs: str) -> None:
    """A longer address servers refuse."""
    assert person.request("GET", f"/gone?{urlencode({'jobs': jobs})}").status_code == 400
