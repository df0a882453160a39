"""Pages that ask by the clock: what is open, moved or said on them stays so while the rest is renewed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

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
