"""The tools of the film by keys: one stop for Tab, and from button to button by arrows, Home and End."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PHONE

pytestmark = pytest.mark.browser

STOPS = (
    "buttons => buttons.filter(button => button.tabIndex === 0 && !button.disabled).map(button => button.dataset.view)"
)


def open_film(open_page: Callable[..., Page], address: str, viewport: dict[str, int] | None = None) -> Page:
    """Once its heatmap is drawn, so that no tool is disabled."""
    page = open_page(viewport) if viewport else open_page()
    page.goto(address)
    expect(tool(page, "Heatmap")).to_be_enabled()
    return page


def tool(page: Page, name: str) -> Locator:
    """One of the buttons beside the film."""
    return page.get_by_role("toolbar").get_by_role("button", name=name, exact=True)


def stops(page: Page) -> list[str]:
    """What Tab comes to in the toolbar."""
    found: list[str] = page.locator(".dial button").evaluate_all(STOPS)
    return found


@pytest.mark.parametrize("viewport", [None, PHONE], ids=["desk", "phone"])
def test_the_tools_are_one_stop_and_arrows_go_through_them(
    open_page: Callable[..., Page], film: str, viewport: dict[str, int] | None
) -> None:
    """From the last to the first, too; whoever comes back comes back to the same tool."""
    page = open_film(open_page, film, viewport)
    assert stops(page) == ["in"]
    tool(page, "Zoom in").focus()
    for key, name in [
        ("ArrowRight", "Zoom out"),
        ("ArrowRight", "Original view"),
        ("ArrowLeft", "Zoom out"),
        ("Home", "Zoom in"),
        ("ArrowLeft", "Heatmap"),
        ("ArrowRight", "Zoom in"),
        ("End", "Heatmap"),
        ("ArrowLeft", "Invert"),
    ]:
        page.keyboard.press(key)
        expect(tool(page, name)).to_be_focused()
    assert stops(page) == ["invert"]
    page.keyboard.press("Tab")
    expect(page.get_by_role("toolbar").locator(":focus")).to_have_count(0)
    page.keyboard.press("Shift+Tab")
    expect(tool(page, "Invert")).to_be_focused()
    page.keyboard.press("Enter")
    expect(tool(page, "Invert")).to_have_attribute("aria-pressed", "true")


def test_keys_of_the_film_and_the_browser_stay_theirs(open_page: Callable[..., Page], film: str) -> None:
    """Arrows move the film where it has the focus, and do nothing with Alt; letters work from a tool as elsewhere."""
    page = open_film(open_page, film)
    page.locator("#viewer [role=img]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer [role=img]")).to_be_focused()
    tool(page, "Invert").click()
    assert stops(page) == ["invert"]
    page.keyboard.press("Shift+ArrowLeft")
    expect(tool(page, "Invert")).to_be_focused()
    page.keyboard.press("i")
    expect(tool(page, "Invert")).to_have_attribute("aria-pressed", "false")


def test_arrows_go_through_the_tools_where_letters_are_off(open_page: Callable[..., Page], film: str) -> None:
    """They are the only way to seven of them."""
    page = open_film(open_page, film)
    page.evaluate("localStorage.setItem('plainfilm-keys', 'off')")
    tool(page, "Zoom in").focus()
    page.keyboard.press("End")
    expect(tool(page, "Heatmap")).to_be_focused()


def test_a_tool_that_cannot_be_used_is_passed_over(open_page: Callable[..., Page], film: str) -> None:
    """And is no stop for Tab: that is another one, until it is one again."""
    page = open_film(open_page, film)
    tool(page, "Heatmap").focus()
    assert stops(page) == ["heatmap"]
    page.locator("#method").select_option("smooth_grad")  # whose map has not been computed
    expect(tool(page, "Heatmap")).to_be_disabled()
    assert stops(page) == ["in"]
    tool(page, "Zoom in").focus()
    page.keyboard.press("End")
    expect(tool(page, "Invert")).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_contain_text("next, previous tool beside the film")
