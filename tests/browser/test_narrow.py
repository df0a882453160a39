"""Pages on paper, in narrow windows, and where scripts are off."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from shared import samples
from tests.browser.conftest import AXE_RULES, DESK, PHONE
from tests.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

TABLET, SHORT = {"width": 768, "height": 1024}, {"width": 1200, "height": 500}


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


def test_code_that_runs_on_can_be_moved_by_keys(open_page: Callable[..., Page], running_stack: Service) -> None:
    """The commands of the API page are wider than a phone."""
    page = open_page(PHONE)
    page.goto(f"{running_stack.url}/api/docs")
    code = page.get_by_role("region", name="Commands to begin with")
    code.focus()
    page.keyboard.press("ArrowRight")
    wait_until(lambda: code.evaluate("e => e.scrollLeft"), "the commands to move")
    found = Axe().run(page, options=AXE_RULES)
    assert found.violations_count == 0, found.generate_report()


def test_a_table_that_runs_on_shows_it_at_its_edge(open_page: Callable[..., Page], running_stack: Service) -> None:
    """A shade on the right, which is gone where the table has been moved to its end."""
    page = open_page(PHONE)
    page.goto(f"{running_stack.url}/model")
    table = page.locator(".scroller.wide:not(.goals)").first
    table.scroll_into_view_if_needed()
    assert table.evaluate("e => e.scrollWidth > e.clientWidth")
    wait_until(lambda: edge_of(table) != (11, 13, 16), "the shade to come")
    table.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
    wait_until(lambda: edge_of(table) == (11, 13, 16), "the shade to go")


def edge_of(table: Locator) -> tuple[int, ...]:
    """The colour of the last pixel but one beside its caption."""
    shot = Image.open(io.BytesIO(table.screenshot())).convert("RGB")
    found = shot.getpixel((shot.width - 2, 4))
    assert isinstance(found, tuple)
    return tuple(int(value) for value in found)


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
    """Also from the dark theme; the bars keep their colour. A question that nobody answered is no part of a sheet."""
    job = running_stack.submit(samples.paths()[0].read_bytes())
    running_stack.done(job.id)
    page = open_page()
    page.goto(f"{running_stack.url}/jobs/{job.id}")
    page.emulate_media(media="print")
    for name in (".top nav", ".tools", ".dial", ".picker", ".heatmap-controls", ".curl", ".review"):
        expect(page.locator(name)).to_be_hidden()
    expect(page.locator(".notice")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(20, 25, 29)"
    expect(page.locator(".bar").first).to_have_css("print-color-adjust", "exact")
    told = page.locator("time").first
    assert told.evaluate("time => getComputedStyle(time, '::after').content") == f'"{told.get_attribute("title")}"'


def test_a_printed_film_names_its_map_and_its_times_have_a_zone(open_page: Callable[..., Page], film: str) -> None:
    """A sheet is read without the page beside it: which map, how strong, and when in whose time."""
    page = open_page()
    page.goto(film)
    heading = page.locator("#heatmap-title")
    expect(page.locator("#map-label")).to_have_text("Grad-CAM · 40 %")
    assert heading.inner_text() == "Heatmap"
    page.emulate_media(media="print")
    expect(page.locator("#map-label")).to_be_visible()
    expect(heading).to_have_text("Heatmap: Grad-CAM, 40 % over the film", use_inner_text=True)
    page.keyboard.press("o")
    expect(heading).to_have_text("Heatmap: Grad-CAM, not laid over the film", use_inner_text=True)
    zone = page.evaluate("new Date().toLocaleTimeString('en-GB', {timeZoneName: 'short'}).split(' ')[1]")
    for time in page.locator("time").all():
        assert (time.get_attribute("title") or "").endswith(f" {zone}")


@pytest.mark.parametrize("viewport", [DESK, TABLET, PHONE, SHORT], ids=["desk", "tablet", "phone", "short"])
def test_nothing_lies_over_the_film(
    open_page: Callable[..., Page], running_stack: Service, viewport: dict[str, int]
) -> None:
    """Side markers stand in its upper corners, the bases of the lungs at its lower edge: facts and tools are apart."""
    job = running_stack.submit(samples.paths()[0].read_bytes())
    page = open_page(viewport)
    page.goto(f"{running_stack.url}/jobs/{job.id}")
    film, window, *strips = page.evaluate(  # at one moment: verdict and map may come between two
        "names => names.map(name => document.querySelector(name).getBoundingClientRect().toJSON())",
        ["#viewer", ".lightbox", ".film-facts", ".film-tools"],
    )
    assert film["height"] > window["height"] / 2
    for strip in strips:
        assert strip["bottom"] <= film["top"] or strip["top"] >= film["bottom"]
        assert strip["right"] <= window["right"]


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_heatmap_is_switched_beside_the_film(
    open_page: Callable[..., Page], film: str, viewport: dict[str, int]
) -> None:
    """By a button that is on the screen together with the film, whatever the width; it tells whether the map is on."""
    page = open_page(viewport)
    page.goto(film)
    button = page.get_by_role("toolbar").get_by_role("button", name="Heatmap")
    expect(button).to_have_attribute("aria-pressed", "true")
    box, shown = button.bounding_box(), page.locator("#viewer")
    assert box
    assert box["y"] + box["height"] <= viewport["height"]
    button.click()
    expect(shown).to_have_attribute("data-heatmap-opacity", "0")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#opacity-words")).to_have_text("0 %")
    page.keyboard.press("o")
    expect(button).to_have_attribute("aria-pressed", "true")
