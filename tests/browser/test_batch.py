"""The worklist of one batch, live: what is sent into it appears, what is sent beside it does not, and it is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from shared import wire
from tests.browser.conftest import DESK, PHONE
from tests.browser.test_sending import films as together
from tests.browser.test_upload import send
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


def test_films_that_are_chosen_together_are_followed_together(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """They go into one batch, and a link beside their count leads to its list; one film alone makes none."""
    page = open_page()
    link = page.locator("#batch-link")
    send(page, together("alone")[0])
    expect(page.locator("#sending-sum")).to_have_text("1 sent")
    expect(link).to_be_hidden()
    page.locator("#files").set_input_files(together("both-1", "both-2"))
    expect(page.locator("#sending-sum")).to_have_text("3 sent")
    expect(link).to_have_text("Open the batch")
    link.click()
    expect(page.locator("#batch-words")).to_have_text("Batch of 2 films: 2 done.")
    expect(page.locator("#rows tr")).to_have_count(2)


def test_what_is_sent_from_the_page_of_a_batch_goes_into_it(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """It appears in the list that is looked at, and no other batch is made for several."""
    made = running_stack.http.post("/api/v1/batches", headers=running_stack.headers)
    page = open_page()
    page.goto(running_stack.url + wire.Batch.model_validate_json(made.content).links.page)
    page.locator("#files").set_input_files(together("into-1", "into-2"))
    expect(page.locator("#batch-words")).to_have_text("Batch of 2 films: 2 done.")
    expect(page.locator("#batch-link")).to_be_hidden()


def test_films_are_sent_where_no_batch_can_be_made(open_page: Callable[..., Page]) -> None:
    """A batch is a help; that it is refused keeps no film from being read."""
    page = open_page(allowed=(503,))
    page.route("**/api/v1/batches", lambda route: route.fulfill(status=503, body="{}"))
    page.locator("#files").set_input_files(together("without-1", "without-2"))
    expect(page.locator("#sending-sum")).to_have_text("2 sent")
    expect(page.locator("#batch-link")).to_be_hidden()
