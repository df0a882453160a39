"""The worklist of one batch, live: what is sent into it appears, what is sent beside it does not, and it is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from shared import wire
from tests.browser.conftest import DESK, PHONE
from tests.service import Service, films

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_list_of_a_batch_is_live(
    open_page: Callable[..., Page], running_stack: Service, viewport: dict[str, int]
) -> None:
    """From no film to one that is done, without a reload; its line leads back to all films."""
    made = running_stack.http.post("/api/v1/batches", headers=running_stack.headers)
    batch = wire.Batch.model_validate_json(made.content)
    page = open_page(viewport=viewport)
    page.goto(running_stack.url + batch.links.page)
    words = page.locator("#batch-words")
    expect(words).to_have_text("Batch of 0 films: 0 done.")
    inside, beside = films(2)
    running_stack.done(running_stack.submit(beside).id)
    job = running_stack.submit(inside, batch=batch.id)
    expect(words).to_have_text("Batch of 1 film: 1 done.")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator(f"#job-{job.id}[data-done]")).to_be_visible()
    expect(page.locator("#count-all")).to_have_text("1")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator(".batch").get_by_role("link", name="Show all films").click()
    expect(words).to_have_count(0)
    expect(page.locator(f"#job-{job.id}")).to_be_visible()
