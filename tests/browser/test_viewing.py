"""The tools of the film: window and level, turns, and the way back to how it came; the map stays where it belongs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import AXE_RULES, DESK, PHONE, SUM_OF_COLOURS
from tests.factories import make_pixels, make_png
from tests.service import Service

pytestmark = pytest.mark.browser

VIEW = "#view-words"
NARROW, TABLET = {"width": 320, "height": 700}, {"width": 768, "height": 1024}
SHORT = {"width": 1280, "height": 500}

SIDE_PX = 512
"""Of the film that comes with the service: a square."""

ROUNDS = 10
"""What depends on the order of a browser's events shows itself in one round of a few."""

MIDDLE_OF_COLOUR = """() => {
    const canvas = document.querySelector('#viewer canvas');
    const {width, height} = canvas;
    const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    let sum = 0, right = 0, down = 0;
    for (let i = 0; i < pixels.length; i += 4) {
        const colour = Math.abs(pixels[i] - pixels[i + 2]);
        sum += colour;
        right += colour * ((i / 4) % width - width / 2);
        down += colour * (Math.floor(i / 4 / width) - height / 2);
    }
    return [Math.round(right / sum), Math.round(down / sum)];
}"""
"""Where the map lies, in pixels of the canvas from its middle: to the right, and down."""

CORNER = """() => {
    const canvas = document.querySelector('#viewer canvas');
    const {width, height} = canvas;
    const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    let first = 3;
    while (first < pixels.length && !pixels[first]) first += 4;
    return [((first - 3) / 4) % width, Math.floor(first / 4 / width)];
}"""
"""Where the film begins, in pixels of the canvas: what lies beside it is clear."""

MIDDLE_GREY = """() => {
    const canvas = document.querySelector('#viewer canvas');
    return canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0];
}"""


def wait_for(page: Page, function: str, wanted: object) -> None:
    """Until this function answers so."""
    page.wait_for_function(f"wanted => JSON.stringify(({function})()) === JSON.stringify(wanted)", arg=wanted)


def open_without_map(page: Page, film: str) -> float:
    """The film alone, drawn; how bright it is in all."""
    page.goto(film)
    expect(page.locator("#viewer[data-heatmap-opacity='']")).to_have_count(0)
    page.keyboard.press("o")
    page.wait_for_function(f"() => (sum => sum.grey > 0 && sum.colour === 0)(({SUM_OF_COLOURS})())")
    grey: float = page.evaluate(SUM_OF_COLOURS)["grey"]
    return grey


@pytest.fixture
def grey_film(running_stack: Service) -> str:
    """The address of a film that is of one grey, 100 of 255, but for a white and a black line along its edge."""
    pixels = np.full((64, 64), 100, np.uint8)
    pixels[0], pixels[-1] = 255, 0
    job = running_stack.submit(make_png(pixels=pixels))
    running_stack.done(job.id)
    return f"{running_stack.url}/jobs/{job.id}"


def test_keys_change_brightness_and_contrast(open_page: Callable[..., Page], film: str) -> None:
    """Brighter, darker, more contrast and less; 0 takes all of it back, and the words beside the film go."""
    page = open_page()
    first = open_without_map(page, film)
    words = page.locator(VIEW)
    expect(words).to_be_empty()
    page.keyboard.press("b")
    expect(words).to_have_text("W 255 L 120")
    expect(page.locator("#said")).to_have_text("W 255 L 120")
    page.wait_for_function(f"first => ({SUM_OF_COLOURS})().grey > first", arg=first)
    page.keyboard.press("d")
    expect(words).to_be_empty()
    wait_for(page, f"() => ({SUM_OF_COLOURS})().grey", first)
    page.keyboard.press("d")
    expect(words).to_have_text("W 255 L 136")
    page.wait_for_function(f"first => ({SUM_OF_COLOURS})().grey < first", arg=first)
    page.keyboard.press("c")
    expect(words).to_have_text("W 247 L 136")
    page.keyboard.press("s")
    page.keyboard.press("s")
    expect(words).to_have_text("W 263 L 136")
    page.keyboard.press("i")
    page.keyboard.press("0")
    expect(words).to_be_empty()
    expect(page.locator("[data-view=invert]")).to_have_attribute("aria-pressed", "false")
    wait_for(page, f"() => ({SUM_OF_COLOURS})().grey", first)


def test_greys_are_what_the_window_makes_of_them(open_page: Callable[..., Page], grey_film: str) -> None:
    """A grey of 100: shifted, spread, squeezed and turned over, each to the very value that arithmetic gives."""
    page = open_page()
    page.goto(grey_film)
    wait_for(page, MIDDLE_GREY, 100)
    words = page.locator(VIEW)
    for keys, told, grey in (
        ("dddd", "W 255 L 160", 68),  # 100 - 32
        ("bbbbbbbb", "W 255 L 96", 132),  # 100 + 32
        ("dddd" + "c" * 16, "W 127 L 128", 72),  # (100 - 64) / 127 * 255
        ("b" * 4, "W 127 L 96", 137),  # (100 - 32) / 127 * 255, where 32 is 95.5 - 63.5
        ("0" + "s" * 16, "W 383 L 128", 110),  # (100 + 64) / 383 * 255
        ("0" + "bbbb" + "i", "W 255 L 96", 123),  # 255 - 132
    ):
        page.keyboard.type(keys)
        expect(words).to_have_text(told)
        page.wait_for_function(f"grey => Math.abs(({MIDDLE_GREY})() - grey) <= 1", arg=grey)


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_a_drag_changes_the_window_instead_of_moving_the_film(
    open_page: Callable[..., Page], film: str, viewport: dict[str, int]
) -> None:
    """With the tool on, or with Shift; to the right the window widens, upwards the film brightens, and it stays put."""
    page = open_page(viewport)
    open_without_map(page, film)
    words, tool = page.locator(VIEW), page.get_by_role("button", name="Drag for brightness and contrast")
    box = page.locator("#viewer").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag() -> None:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 40, y - 60, steps=4)
        page.mouse.up()

    left, top = page.evaluate(CORNER)
    moved = [left + 40, max(0, top - 60)]
    drag()
    wait_for(page, CORNER, moved)
    expect(words).to_be_empty()
    page.keyboard.down("Shift")
    drag()
    page.keyboard.up("Shift")
    expect(words).to_have_text("W 275 L 98")
    tool.click()
    expect(tool).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#said")).to_have_text("Dragging changes brightness and contrast")
    drag()
    expect(words).to_have_text("W 295 L 68")
    page.keyboard.press("v")
    expect(tool).to_have_attribute("aria-pressed", "false")
    assert page.evaluate(CORNER) == moved


def test_the_map_turns_with_the_film(open_page: Callable[..., Page], film: str) -> None:
    """What lies right of the middle lies below it after a turn to the right; turns add up, and 0 undoes them."""
    page = open_page()
    page.goto(film)
    page.wait_for_function(f"() => ({SUM_OF_COLOURS})().colour > 1000")
    right, down = page.evaluate(MIDDLE_OF_COLOUR)
    assert abs(right) + abs(down) > 10
    for key, told, place in (
        ("r", "90°", (-down, right)),
        ("l", "", (right, down)),
        ("l", "270°", (down, -right)),
        ("l", "180°", (-right, -down)),
        ("0", "", (right, down)),
    ):
        page.keyboard.press(key)
        expect(page.locator(VIEW)).to_have_text(told)
        page.wait_for_function(
            f"place => (found => Math.hypot(found[0] - place[0], found[1] - place[1]) < 4)(({MIDDLE_OF_COLOUR})())",
            arg=place,
        )


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_a_film_that_lies_on_its_side_is_seen_whole(
    open_page: Callable[..., Page], running_stack: Service, viewport: dict[str, int]
) -> None:
    """Turned, a long film is drawn as large as its window allows; one that was looked at from near stays near."""
    job = running_stack.submit(make_png(pixels=make_pixels(height_px=300, width_px=400)))
    page = open_page(viewport)
    page.goto(f"{running_stack.url}/jobs/{job.id}")
    zoom, box = page.locator("#zoom-words"), page.locator("#viewer").bounding_box()
    assert box
    upright, turned = (
        f"{round(100 * min(box['width'] / across, box['height'] / down))} %"
        for across, down in ((400, 300), (300, 400))
    )
    assert upright != turned
    expect(zoom).to_have_text(upright)
    page.get_by_role("button", name="Turn right").click()
    expect(zoom).to_have_text(turned)
    page.keyboard.press("+")
    expect(zoom).not_to_have_text(turned)
    near = zoom.inner_text()
    page.get_by_role("button", name="Turn left").click()
    expect(zoom).to_have_text(near)
    page.get_by_role("button", name="Original view").click()
    expect(zoom).to_have_text(upright)


def zoom_of(page: Page, steps: int = 0) -> str:
    """What stands beside the film of the service where all of it is seen, or so many steps nearer."""
    box = page.locator("#viewer").bounding_box()
    assert box
    return f"{round(100 * min(box['width'], box['height']) / SIDE_PX * 1.4**steps)} %"


def test_a_turned_film_is_whole_on_paper(open_page: Callable[..., Page], film: str) -> None:
    """And what was seen of it before is seen again afterwards."""
    page = open_page()
    page.goto(film)
    zoom = page.locator("#zoom-words")
    expect(zoom).to_have_text(zoom_of(page))
    for key in "r++":
        page.keyboard.press(key)
    expect(page.locator(VIEW)).to_have_text("90°")
    near = zoom_of(page, 2)
    expect(zoom).to_have_text(near)
    for _ in range(ROUNDS):
        page.emulate_media(media="print")
        expect(zoom).to_have_text(zoom_of(page))
        page.emulate_media(media="screen")
        expect(zoom).to_have_text(near)
    expect(page.locator(VIEW)).to_have_text("90°")


def test_a_window_that_changes_keeps_what_is_seen_of_a_turned_film(open_page: Callable[..., Page], film: str) -> None:
    """All of it stays all of it; what is looked at from near keeps its size."""
    page = open_page()
    page.goto(film)
    zoom = page.locator("#zoom-words")
    whole, near = zoom_of(page), zoom_of(page, 1)
    expect(zoom).to_have_text(whole)
    page.keyboard.press("r")
    page.set_viewport_size(SHORT)
    expect(zoom).not_to_have_text(whole)
    expect(zoom).to_have_text(zoom_of(page))
    page.set_viewport_size(DESK)
    expect(zoom).to_have_text(whole)
    page.keyboard.press("+")
    expect(zoom).to_have_text(near)
    page.set_viewport_size(SHORT)
    page.wait_for_function("() => document.querySelector('#viewer canvas').height < 500")  # drawn anew by then
    expect(zoom).to_have_text(near)


@pytest.mark.parametrize("viewport", [DESK, TABLET, PHONE, NARROW], ids=["desk", "tablet", "phone", "narrow"])
def test_all_tools_are_on_the_screen(open_page: Callable[..., Page], film: str, viewport: dict[str, int]) -> None:
    """Also with everything changed, when the strip beside the film says most; keys are listed, and nothing offends."""
    page = open_page(viewport)
    page.goto(film)
    expect(page.locator("#map-label")).to_have_text("Grad-CAM · 40 %")
    for key in "rrrdcv":
        page.keyboard.press(key)
    expect(page.locator(VIEW)).to_have_text("W 247 L 136 · 270°")
    for element in [*page.locator(".dial button").all(), page.locator(VIEW), page.locator("#zoom-words")]:
        box = element.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= viewport["width"]
        assert box["width"] >= 24 or element.get_attribute("id")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    found = Axe().run(page, options=AXE_RULES)
    assert found.violations_count == 0, found.generate_report()
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_contain_text("turn right, left")
