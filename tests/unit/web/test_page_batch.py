"""The worklist of one batch: its films and no others, how many are done, and the way back to all."""

from __future__ import annotations

import re

import pytest

from shared.wiring import Resources
from tests.api import Api, make_tenant
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


def test_the_page_of_another_tenants_batch_is_not_there(api: Api, small: Resources) -> None:
    """404 as a page; what is no id is refused."""
    make_tenant(small.database, "clinic")
    theirs = make_batch(small.database, tenant="clinic")
    person = api.browse()
    page = person.request("GET", f"/?batch={theirs}", {"Accept": "text/html"})
    assert (page.status_code, "No such batch" in page.text) == (404, True)
    assert person.request("GET", "/?batch=x").status_code == 400
