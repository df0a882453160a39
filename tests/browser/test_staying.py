"""Pages that ask by the clock: what is open, moved or said on them stays so while the rest is renewed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import DESK, PHONE
from tests.browser.test_presses import ask, waiting_film
from tests.browser.test_review import is_fine
from tests.rig import film_of
from tests.service import Service, frozen_worker

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("viewport", "theme"), [(DESK, "dark"), (PHONE, "light")], ids=["desk", "phone"])
def test_what_is_open_beside_a_waiting_film_stays_open(
    open_page: Callable[..., Page], running_stack: Service, viewport: dict[str, int], theme: str
) -> None:
    """While its place in the line changes: History, the question whether to delete, and the focus in it."""
    page = open_page(viewport, theme)
    with frozen_worker(running_stack):
        ahead = running_stack.submit(film_of("ahead"))
        waiting_film(page, running_stack, "behind")
        asking = page.locator("#waiting, #findings[hx-get]")
        before = asking.get_attribute("hx-vals") or ""
        assert before
        page.locator(".history summary").click()
        page.locator(".deleting summary").click()
        delete = page.get_by_role("button", name="Delete for good")
        delete.focus()
        running_stack.http.post(ahead.links.cancel, headers=running_stack.headers).raise_for_status()
        ask(page)
        expect(asking).not_to_have_attribute("hx-vals", before)
        is_fine(page, viewport["width"])
        expect(delete).to_be_focused()
        expect(page.locator(".history ol")).to_be_visible()
    expect(page.locator("#findings[data-status=succeeded]")).to_be_visible()


def test_a_table_of_operations_stays_where_it_was_moved_to(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """And the focus in it, while the numbers are renewed under the reader."""
    page = open_page(PHONE)
    page.goto(f"{running_stack.url}/operations")
    table = page.get_by_role("region", name="Workers")
    table.focus()
    assert table.evaluate("table => { table.scrollLeft = 60; return table.scrollLeft; }") == 60
    is_fine(page, PHONE["width"])
    swapped = "new Promise(done => document.addEventListener('htmx:afterSettle', () => done(), {once: true}))"
    page.evaluate(swapped)
    assert table.evaluate("table => table.scrollLeft") == 60
    expect(table).to_be_focused()


def test_an_alert_of_operations_is_announced_once(open_page: Callable[..., Page], running_stack: Service) -> None:
    """Its node stays as it is while it says the same, and is another when it says something else."""
    page = open_page()
    page.goto(f"{running_stack.url}/operations")
    said = ["The broker is silent"]

    def tell(route: Route) -> None:
        part = route.fetch().text()
        banners = "".join(f'<section class="banner" role="alert"><h2>{words}</h2></section>' for words in said)
        for place in ("data-calm>", 'hx-swap="outerHTML">'):
            if place in part:
                return route.fulfill(body=part.replace(place, place + banners, 1), content_type="text/html")
        raise AssertionError(part)

    page.route("**/operations/now", tell)
    alert = page.locator(".banner", has_text="The broker is silent")
    alert.evaluate("alert => { alert.heard = true; }")
    with page.expect_response("**/operations/now"):
        pass
    settled = "new Promise(done => document.addEventListener('htmx:afterSettle', () => done(), {once: true}))"
    page.evaluate(settled)
    assert alert.evaluate("alert => alert.heard")
    said[0] = "Nobody takes bulk"
    expect(page.locator(".banner", has_text="Nobody takes bulk")).to_be_visible()
    expect(alert).to_have_count(0)
