"""A film without a verdict is classified again by a button, and its page leads to the answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from shared import samples
from tests.browser.conftest import AXE_RULES, DESK, PHONE
from tests.service import Service, frozen_worker

pytestmark = pytest.mark.browser


@pytest.fixture
def cancelled(running_stack: Service) -> str:
    """The address of a film that was cancelled before a worker had it."""
    with frozen_worker(running_stack):
        job = running_stack.submit(samples.paths()[0].read_bytes())
        running_stack.http.post(job.links.cancel, headers=running_stack.headers).raise_for_status()
    return f"{running_stack.url}/jobs/{job.id}"


@pytest.mark.parametrize(("viewport", "theme"), [(DESK, "dark"), (PHONE, "light")], ids=["desk", "phone"])
def test_the_button_leads_to_the_answer(
    open_page: Callable[..., Page], cancelled: str, viewport: dict[str, int], theme: str
) -> None:
    """The new job's page shows the verdict and names this one, which leads there from then on."""
    page = open_page(viewport, theme)
    page.goto(cancelled)
    button = page.get_by_role("button", name="Classify again")
    expect(button).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    found = Axe().run(page, options=AXE_RULES)
    assert found.violations_count == 0, found.generate_report()
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#findings[data-status='succeeded']")).to_be_visible()
    answered = page.url
    assert answered != cancelled
    page.get_by_role("link", name=cancelled.rsplit("/", 1)[1]).click()
    expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()
    expect(page.get_by_role("button", name="Classify again")).to_have_count(0)
    page.get_by_role("link", name=f"film {answered[-8:]}").click()
    page.wait_for_url(answered)


def test_the_old_page_leads_to_the_new_job_while_that_waits(
    open_page: Callable[..., Page], running_stack: Service, cancelled: str
) -> None:
    """Nobody has the same film classified twice because the first answer is not there yet."""
    page = open_page()
    page.goto(cancelled)
    with frozen_worker(running_stack):
        page.get_by_role("button", name="Classify again").click()
        expect(page.locator("#findings[data-status='queued']")).to_be_visible()
        made = page.url
        page.goto(cancelled)
        expect(page.get_by_text("This film is being classified again")).to_be_visible()
        expect(page.get_by_role("button", name="Classify again")).to_have_count(0)
        page.get_by_role("link", name=f"film {made[-8:]}").click()
        page.wait_for_url(made)
    expect(page.locator("#findings[data-status='succeeded']")).to_be_visible()


def test_it_needs_no_scripts(plain_page: Page, cancelled: str) -> None:
    """The form alone leads to the new job."""
    plain_page.goto(cancelled)
    plain_page.get_by_role("button", name="Classify again").click()
    expect(plain_page.get_by_text("Reclassifies job")).to_be_visible()
    expect(plain_page).not_to_have_url(cancelled)
