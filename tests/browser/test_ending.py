"""What has not ended of a batch is cancelled on its page, by a form that asks first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from shared import wire
from tests.browser.conftest import DESK, PHONE
from tests.browser.test_review import is_fine
from tests.service import Service, films, frozen_worker

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("viewport", "theme"), [(DESK, "dark"), (PHONE, "light")], ids=["desk", "phone"])
def test_the_question_whether_to_cancel_a_batch_stays_open(
    open_page: Callable[..., Page], running_stack: Service, viewport: dict[str, int], theme: str
) -> None:
    """It appears when the first film is there, stays unfolded while the list is renewed, and goes when all ended."""
    made = running_stack.http.post("/api/v1/batches", headers=running_stack.headers)
    batch = wire.Batch.model_validate_json(made.content)
    page = open_page(viewport, theme)
    page.goto(running_stack.url + batch.links.page)
    fold = page.locator(".deleting summary", has_text="Cancel unfinished films")
    expect(page.locator("#batch-words")).to_have_text("Batch of 0 films: 0 done.")
    expect(fold).to_have_count(0)
    with frozen_worker(running_stack):
        first, second = films(2)
        running_stack.submit(first, batch=batch.id)
        fold.click()
        button = page.get_by_role("button", name="Cancel them")
        button.focus()
        running_stack.submit(second, batch=batch.id)
        expect(page.locator("#batch-words")).to_have_text("Batch of 2 films: 0 done.")
        expect(button).to_be_focused()
        is_fine(page, viewport["width"])
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").filter(has_text="were cancelled.")).to_be_visible()
        expect(page.locator("#batch-words")).to_have_text("Batch of 2 films: 2 done.")
    expect(fold).to_have_count(0)
