"""A button that was pressed in vain: the page says so, until its reader goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from shared import wire
from tests.browser.test_explain import expect_drawn
from tests.rig import film_of
from tests.service import Service, frozen_worker

pytestmark = pytest.mark.browser

NOT_DONE = "The service did not respond. Please try again."
ASK = """name => new Promise(done => {
    document.addEventListener('htmx:afterSettle', () => done(), {once: true});
    document.addEventListener('htmx:afterRequest', event => event.detail.xhr.status !== 200 && done(), {once: true});
    htmx.trigger(document.querySelector(name), 'changed');
})"""
"""What asks by the clock asks now; until its answer has been dealt with."""


def waiting_film(page: Page, service: Service, name: str) -> wire.Job:
    """Open the page of a film that no worker takes, in a block where the worker stands still."""
    job = service.submit(film_of(name))
    page.goto(f"{service.url}/jobs/{job.id}")
    expect(page.locator("#findings[data-status=queued]")).to_be_visible()
    return job


def ask(page: Page) -> None:
    """Ask what became of the job."""
    page.evaluate(ASK, "#waiting, #findings[hx-get]")


def test_a_press_without_an_answer_is_told_and_has_to_be_repeated(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """Nothing tries again by itself; no poll wipes the words, and the next press, which works, does."""
    page = open_page(allowed=("net::ERR_FAILED",))
    trouble, cancel = page.locator("#trouble"), page.get_by_role("button", name="Cancel this job")
    with frozen_worker(running_stack):
        waiting_film(page, running_stack, "pressed in vain")
        page.route("**/cancel", lambda route: route.abort())
        cancel.click()
        expect(trouble).to_have_text(NOT_DONE)
        ask(page)
        expect(trouble).to_have_text(NOT_DONE)
        page.unroute("**/cancel")
        cancel.click()
        expect(trouble).to_be_hidden()
        expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()


def test_a_press_that_is_refused_is_told_until_the_reader_goes_on(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """In the service's words; neither a poll that works wipes them, nor one that fails puts its own there."""
    page = open_page(allowed=(503, "net::ERR_FAILED"))
    trouble = page.locator("#trouble")
    with frozen_worker(running_stack):
        waiting_film(page, running_stack, "refused")
        page.route("**/cancel", lambda route: route.fulfill(status=503, json={"detail": "The database is away."}))
        page.get_by_role("button", name="Cancel this job").click()
        expect(trouble).to_have_text("The database is away.")
        ask(page)
        expect(trouble).to_have_text("The database is away.")
        page.route("**/findings*", lambda route: route.abort())
        with page.expect_event("requestfailed"):
            page.evaluate("htmx.trigger(document.querySelector('#waiting, #findings[hx-get]'), 'changed')")
        expect(trouble).to_have_text("The database is away.")
        page.keyboard.press("Tab")
        expect(trouble).to_be_hidden()


@pytest.mark.parametrize("button", ["Show", "Measure it"])
def test_a_map_that_is_asked_for_in_vain_has_to_be_asked_for_again(
    open_page: Callable[..., Page], film: str, button: str
) -> None:
    """Nothing on the page keeps trying."""
    page = open_page(allowed=("net::ERR_FAILED",))
    page.goto(film)
    expect_drawn(page, "grad_cam")
    page.route("**/explanations?*", lambda route: route.abort())
    page.route("**/explanations", lambda route: route.abort())
    page.get_by_role("button", name=button).click()
    expect(page.locator("#trouble")).to_have_text(NOT_DONE)
