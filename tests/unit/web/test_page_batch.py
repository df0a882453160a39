"""The worklist of one batch: its films and no others, how many are done, and the way back to all."""

from __future__ import annotations

import re

import pytest
from werkzeug.test import TestResponse

from shared.wiring import Resources
from tests.api import Api, Browser, make_key, make_tenant
from tests.jobs import claim, claimant, finish, make_batch, make_job
from tests.unit.web.test_pages import rows


@pytest.fixture
def batch(small: Resources) -> tuple[str, list[str]]:
    """A batch of three, the first of which has ended, beside a film outside of it."""
    batch_id = make_batch(small.database)
    made = [make_job(small.database, batch_id=batch_id) for _ in range(3)]
    make_job(small.database)
    finish(small.database, *claim(small.database, claimant(limit=1)))
    return batch_id, made


def counts(html: str) -> dict[str, str]:
    """Of the filters by status."""
    return dict(re.findall(r'id="count-(\w+)" class="count"[^>]*>(\d+)<', html))


def cancel(person: Browser, batch_id: str) -> TestResponse:
    """Send the form."""
    return person.request("POST", f"/batches/{batch_id}/cancel", data={"csrf_token": person.csrf_token()})


def test_the_list_of_a_batch_has_its_films_and_its_counts(api: Api, batch: tuple[str, list[str]]) -> None:
    """A line says how many are done and leads back to all; every link and the table stay in the batch."""
    batch_id, made = batch
    page = api.browse().request("GET", f"/?batch={batch_id}").text
    assert rows(page) == made[::-1]
    assert "Batch of 3 films: 1 done." in page
    assert (counts(page)["all"], counts(page)["queued"], counts(page)["succeeded"]) == ("3", "2", "1")
    assert page.count(f"batch={batch_id}") >= len(re.findall(r'<a href="/\?', page))
    assert f'href="/api/v1/jobs.csv?batch={batch_id}"' in page
    assert f'data-batch-filter="{batch_id}"' in page
    assert re.search(r'<a class="plain" href="/">Show all films</a>', page)
    assert "Batch of" not in api.browse().request("GET", "/").text


def test_filters_of_a_batch_add_up(api: Api, batch: tuple[str, list[str]]) -> None:
    """By status and verdict, within the batch; the way back to all keeps them."""
    batch_id, made = batch
    person = api.browse()
    assert rows(person.request("GET", f"/?batch={batch_id}&status=queued").text) == made[:0:-1]
    page = person.request("GET", f"/?batch={batch_id}&verdict=normal").text
    assert rows(page) == made[:1]
    assert 'href="/?verdict=normal">Show all films' in page


def test_the_list_of_a_batch_follows_its_batch(api: Api, batch: tuple[str, list[str]]) -> None:
    """What comes in outside of it is not shown; the line and the counts are renewed."""
    batch_id, made = batch
    make_job(api.resources.database)
    finish(api.resources.database, *claim(api.resources.database, claimant(limit=1)))
    answer = api.browse().request("GET", f"/live?batch={batch_id}&shown={made[0]}&waiting={made[1]}.queued").text
    assert rows(answer) == made[1:]
    assert 'id="batch-words" hx-swap-oob="true">Batch of 3 films: 2 done.<' in answer
    assert counts(answer)["all"] == "3"


def test_an_empty_batch_is_no_first_visit(api: Api, small: Resources) -> None:
    """Nobody is asked for their first film there; one film is not several."""
    batch_id = make_batch(small.database)
    page = api.browse().request("GET", f"/?batch={batch_id}").text
    assert "Batch of 0 films: 0 done." in page
    assert "No film matches this filter" in page
    assert "Send the first film" not in page
    make_job(small.database, batch_id=batch_id)
    assert "Batch of 1 film: 0 done." in api.browse().request("GET", f"/?batch={batch_id}").text


def test_what_has_not_ended_of_a_batch_is_cancelled_by_a_form(api: Api, batch: tuple[str, list[str]]) -> None:
    """It asks first, in a fold; the list of the batch then says what was done, and offers it no more."""
    batch_id, made = batch
    person = api.browse()
    page = person.request("GET", f"/?batch={batch_id}").text
    form = re.search(r"<details class=\"deleting\">.*?</details>", page, re.DOTALL)
    assert form
    assert "Cancel unfinished films" in form[0]
    [address], [token] = (re.findall(rf'{name}="([^"]+)"', form[0]) for name in ("action", "value"))
    assert person.client.post(address).status_code == 403
    answer = person.client.post(address, data={"csrf_token": token})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/?batch={batch_id}")
    page = person.request("GET", f"/?batch={batch_id}").text
    assert "The unfinished films of this batch were cancelled." in page
    assert "Batch of 3 films: 3 done." in page
    assert (counts(page)["cancelled"], counts(page)["succeeded"]) == ("2", "1")
    assert "Cancel unfinished films" not in page
    [beside] = rows(person.request("GET", "/?status=queued").text)
    assert beside not in made


def test_a_batch_that_comes_to_life_can_be_cancelled_without_a_reload(api: Api, small: Resources) -> None:
    """An empty one offers nothing; what asks for changes is told of the form, and later that it has gone."""
    batch_id, person = make_batch(small.database), api.browse()
    assert '<div id="ending" data-calm></div>' in person.request("GET", f"/?batch={batch_id}").text
    make_job(small.database, batch_id=batch_id)
    answer = person.request("GET", f"/live?batch={batch_id}").text
    assert f'action="/batches/{batch_id}/cancel"' in answer.split('<div id="ending" hx-swap-oob="innerHTML">')[1]
    finish(small.database, *claim(small.database))
    assert '<div id="ending" hx-swap-oob="innerHTML"></div>' in person.request("GET", f"/live?batch={batch_id}").text
    assert 'id="ending"' not in person.request("GET", "/live").text


def test_who_may_only_look_is_offered_no_end_of_a_batch(api: Api, batch: tuple[str, list[str]]) -> None:
    """Neither by the page nor by its questions; a foreign batch is not there to be cancelled."""
    batch_id, _ = batch
    auditor = Api(api.resources, make_key(api.resources.database, role="auditor")).browse()
    for address in (f"/?batch={batch_id}", f"/live?batch={batch_id}"):
        assert "Cancel unfinished films" not in auditor.request("GET", address).text
    assert cancel(auditor, batch_id).status_code == 403
    make_tenant(api.resources.database, "clinic")
    assert cancel(api.browse(), make_batch(api.resources.database, tenant="clinic")).status_code == 404


def test_the_page_of_another_tenants_batch_is_not_there(api: Api, small: Resources) -> None:
    """404 as a page; what is no id is refused."""
    make_tenant(small.database, "clinic")
    theirs = make_batch(small.database, tenant="clinic")
    person = api.browse()
    page = person.request("GET", f"/?batch={theirs}", {"Accept": "text/html"})
    assert (page.status_code, "No such batch" in page.text) == (404, True)
    assert person.request("GET", "/?batch=x").status_code == 400
