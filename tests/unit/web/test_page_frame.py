"""What stands around every page: its keys, its ways to the other pages, and what is for programs below."""

from __future__ import annotations

import re

import pytest

from tests.api import Api, Browser, make_key
from tests.unit.web.test_pages import finish_as

KEYS = '<button type="button" class="quiet" data-opens="keys" title="Keys (?)">'


@pytest.fixture
def person(api: Api) -> Browser:
    """A browser with a session."""
    return api.browse()


def read_pages(api: Api, person: Browser) -> dict[str, str]:
    """Every kind of page, a refusal among them."""
    addresses = ["/", f"/jobs/{finish_as(api.resources, 'normal')}", "/model", "/problems", "/api/docs", "/nowhere"]
    return {address: person.request("GET", address, {"Accept": "text/html"}).text for address in addresses}


def test_every_page_lists_its_keys(api: Api, person: Browser) -> None:
    """By a button with a title, for those who do not know that `?` does the same."""
    for address, page in read_pages(api, person).items():
        assert page.count(KEYS) == 1, address
        assert page.count('<dialog id="keys"') == 1, address
        assert ("<kbd>w</kbd>" in page) == (address != "/"), address


def test_what_is_for_programs_stands_below_every_page(api: Api, person: Browser) -> None:
    """Error codes and the API's page, in one footer; the ways above are a reader's."""
    for address, page in read_pages(api, person).items():
        [foot] = re.findall(r"<footer.*?</footer>", page, re.DOTALL)
        assert re.findall(r'href="([^"]+)"', foot)[:2] == ["/problems", "/api/docs"], address
        assert ('aria-current="page">Error codes' in foot) == (address == "/problems"), address
        [ways] = re.findall(r'<nav aria-label="Pages">.*?</nav>', page, re.DOTALL)
        assert re.findall(r'href="([^"]+)"', ways) == ["/", "/model"], address


def test_operations_are_linked_for_those_who_may_see_them(api: Api) -> None:
    """Whoever sends films may not, and is led nowhere where they would be refused."""
    uploader = Api(api.resources, make_key(api.resources.database, role="uploader")).browse()
    assert 'href="/operations"' not in uploader.request("GET", "/").text
    assert 'href="/operations"' in api.browse().request("GET", "/").text


def test_the_switch_of_the_theme_has_a_title(api: Api, person: Browser) -> None:
    """Its sign alone tells little."""
    for address, page in read_pages(api, person).items():
        assert re.search(r'id="theme" aria-pressed="false" title="[^"]+"', page), address


def test_a_session_can_be_ended_from_every_page_that_knows_it(api: Api) -> None:
    """By a form with its token, which works; a program that reads pages with its key has no session to end."""
    person = api.browse()
    for address in ("/", "/model", "/operations"):
        assert 'id="leave"' in person.request("GET", address).text
        assert 'id="leave"' not in api.get(address).text
    token = re.search(
        r'action="/leave">\s*<input type="hidden" name="csrf_token" value="([^"]+)"',
        person.request("GET", "/model").text,
    )
    assert token
    assert person.request("POST", "/leave", data={"csrf_token": token[1]}).status_code == 303
    assert person.request("GET", "/").status_code == 401


def test_the_worklists_films_can_be_had_as_a_table(api: Api, person: Browser) -> None:
    """Those of its filter; where there are none, nothing is offered."""
    assert 'id="table"' not in person.request("GET", "/").text
    finish_as(api.resources, "normal")
    page = person.request("GET", "/?status=succeeded").text
    found = re.search(r'id="table" download href="([^"]+)"', page)
    assert found
    answer = person.request("GET", found[1])
    assert (answer.status_code, answer.mimetype, len(answer.text.splitlines())) == (200, "text/csv", 2)
    assert found[1] == "/api/v1/jobs.csv?status=succeeded"
