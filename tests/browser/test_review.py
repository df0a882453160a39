"""A reader says what it sees in a film, sees it stand, changes it, and finds it in the list and on the model page."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from shared import samples
from tests.browser.conftest import AXE_RULES, DESK, PHONE
from tests.service import Service

pytestmark = pytest.mark.browser


def is_fine(page: Page, width: int) -> None:
    """No rule of axe is broken, and nothing runs out of the window."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page, options=AXE_RULES)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize(("viewport", "theme"), [(DESK, "dark"), (PHONE, "light")], ids=["desk", "phone"])
def test_a_reader_chooses_and_changes(
    open_page: Callable[..., Page], film: str, running_stack: Service, viewport: dict[str, int], theme: str
) -> None:
    """By keys alone: the focus goes to what was said, the list marks the row, and it no longer waits for a review."""
    page = open_page(viewport, theme)
    page.goto(film)
    page.get_by_role("heading", name="What do you see?").wait_for()
    is_fine(page, viewport["width"])
    page.get_by_role("button", name="Other finding").focus()
    page.keyboard.press("Enter")
    said = page.get_by_role("heading", name="You said: Other finding")
    expect(said).to_be_focused()
    expect(page.locator(".review time")).to_have_text(re.compile("^(just now|.* ago)$"))
    page.locator(".review summary").focus()
    page.keyboard.press("Enter")
    is_fine(page, viewport["width"])
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="You said: COVID-19")).to_be_focused()
    row = page.locator(f"#job-{film.rsplit('/', 1)[1]}")
    page.goto(running_stack.url)
    expect(row.locator(".mark")).to_contain_text("Reader")
    is_fine(page, viewport["width"])
    page.get_by_role("link", name="Reviewed by nobody").click()
    expect(page.locator(".filters [aria-current]", has_text="Reviewed by nobody")).to_be_visible()
    for _ in range(2):  # the live list holds on to the filter
        page.wait_for_event("response", lambda answer: "/live?" in answer.url)
    expect(row).to_have_count(0)
    page.goto(f"{running_stack.url}/model#readers")
    expect(page.get_by_role("region", name="Readings by verdict and label")).to_be_visible()
    is_fine(page, viewport["width"])


def test_a_first_reading_is_made_on_the_film_alone(
    open_page: Callable[..., Page], film: str, running_stack: Service
) -> None:
    """A reviewer's film has no map over it before the answer, until `o`; others have it as this reader left it."""
    key_id = running_stack.run("key", "make", "--role", "reviewer").stdout.split("_")[1]
    page = open_page()
    page.goto(running_stack.run("key", "link", key_id).stdout.strip())
    shown, label = page.locator("#viewer"), page.locator("#map-label")
    another = running_stack.submit(samples.paths()[1].read_bytes())
    running_stack.done(another.id)
    page.goto(film)
    expect(shown).to_have_attribute("data-heatmap-opacity", "0")
    expect(page.locator(".review")).to_contain_text("The heatmap stays off until you have answered")
    page.get_by_role("button", name="Normal", exact=True).click()
    expect(label).to_have_text("Grad-CAM · 40 %")
    page.keyboard.press("o")
    page.reload()
    expect(shown).to_have_attribute("data-heatmap-opacity", "0")
    page.keyboard.press("o")
    page.reload()
    expect(label).to_have_text("Grad-CAM · 40 %")
    page.goto(f"{running_stack.url}/jobs/{another.id}")
    expect(shown).to_have_attribute("data-heatmap-opacity", "0")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(label).to_have_text("Grad-CAM · 40 %")


def test_a_reader_needs_no_scripts(plain_page: Page, film: str) -> None:
    """The form alone keeps and changes it."""
    plain_page.goto(film)
    plain_page.get_by_role("button", name="Normal", exact=True).click()
    expect(plain_page.get_by_role("heading", name="You said: Normal")).to_be_visible()
    expect(plain_page).to_have_url(f"{film}#review")
    plain_page.locator(".review summary").click()
    plain_page.get_by_role("button", name="Not assessable").click()
    expect(plain_page.get_by_role("heading", name="You said: Not assessable")).to_be_visible()
