"""Pages on paper, in narrow windows, and where scripts are off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from shared import samples
from tests.service import Service

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [320, 375])
def test_nothing_wraps_or_runs_sideways_in_a_narrow_window(
    open_page: Callable[..., Page], running_stack: Service, width: int
) -> None:
    """Name, notice and buttons share a row; no page scrolls sideways; each value of a goal has its head beside it."""
    page = open_page({"width": width, "height": 800})
    for address in ("/", "/model", "/problems", "/api/docs"):
        page.goto(running_stack.url + address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        boxes = [page.locator(name).bounding_box() for name in (".wordmark", ".tools", ".top nav")]
        mark, tools, pages = [box for box in boxes if box]
        assert tools["y"] < mark["y"] + mark["height"] <= pages["y"], address
    page.goto(f"{running_stack.url}/model")
    value = page.locator(".goals tbody tr").first.locator("td").nth(1)
    assert value.evaluate("cell => getComputedStyle(cell, '::before').content") == '"Value"'
    goals = page.locator(".goals")
    assert goals.evaluate("e => e.scrollWidth <= e.clientWidth")


def test_no_column_of_a_table_is_cut_on_a_desk(open_page: Callable[..., Page], running_stack: Service) -> None:
    """At 1280 pixels every table of the model page shows all of its columns."""
    page = open_page()
    page.goto(f"{running_stack.url}/model")
    hidden = page.eval_on_selector_all(".scroller", "all => all.filter(e => e.scrollWidth > e.clientWidth).length")
    assert hidden == 0
    expect(page.locator(".split-tables .words").first).to_have_css("text-align", "left")


def test_on_paper_a_verdict_is_dark_on_light_and_controls_are_gone(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """Also from the dark theme; the bars keep their colour."""
    job = running_stack.submit(samples.paths()[0].read_bytes())
    running_stack.done(job.id)
    page = open_page()
    page.goto(f"{running_stack.url}/jobs/{job.id}")
    page.emulate_media(media="print")
    for name in (".top nav", ".tools", ".dial", ".picker", ".heatmap-controls", ".curl"):
        expect(page.locator(name)).to_be_hidden()
    expect(page.locator(".notice")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(20, 25, 29)"
    expect(page.locator(".bar").first).to_have_css("print-color-adjust", "exact")
    told = page.locator("time").first
    assert told.evaluate("time => getComputedStyle(time, '::after').content") == f'"{told.get_attribute("title")}"'


def test_no_label_lies_over_the_film(open_page: Callable[..., Page], running_stack: Service) -> None:
    """The upper corners are where a side marker often stands."""
    job = running_stack.submit(samples.paths()[0].read_bytes())
    page = open_page()
    page.goto(f"{running_stack.url}/jobs/{job.id}")
    film = page.locator("#viewer").bounding_box()
    assert film
    for label in page.locator(".corner").all():
        box = label.bounding_box()
        assert box
        assert box["y"] + box["height"] <= film["y"]
