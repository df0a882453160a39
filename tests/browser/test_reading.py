"""The film page for readers who use keys, listen, see in forced colours or have no scripts; and its picker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, Route, StorageState, expect

from tests.browser.conftest import DESK, SUM_OF_COLOURS, window
from tests.rig import film_of
from tests.service import Service, frozen_worker
from tests.waiting import wait_until

pytestmark = pytest.mark.browser


def test_another_method_is_described_at_once_and_a_ready_map_shown(open_page: Callable[..., Page], film: str) -> None:
    """Choosing is enough for both; only a map that is not there yet has to be asked for."""
    page = open_page()
    page.goto(f"{film}?map=gradient")
    expect(page.locator("#method-words")).to_contain_text("noisiest")
    page.locator("#method").select_option("smooth_grad")
    expect(page.locator("#method-words")).to_contain_text("slightly noisy copies")
    expect(page.locator("#heatmap")).to_contain_text(
        "This heatmap has not been computed yet. Press Show to have a worker compute it."
    )
    page.locator("#method").focus()
    page.locator("#method").select_option("grad_cam")
    expect(page.locator("#viewer[data-heatmap$=grad_cam]")).to_be_visible()
    expect(page.locator("#method")).to_be_focused()


def test_the_map_over_the_film_is_named_beside_it(open_page: Callable[..., Page], film: str) -> None:
    """With its opacity, while it is on; a method whose map is not made takes the former map and its name away."""
    page = open_page()
    page.goto(film)
    label, shown = page.locator("#map-label"), page.locator("#viewer")
    expect(label).to_have_text("Grad-CAM · 40 %")
    page.keyboard.press("]")
    expect(label).to_have_text("Grad-CAM · 45 %")
    page.keyboard.press("o")
    expect(label).to_be_empty()
    page.keyboard.press("o")
    expect(label).to_have_text("Grad-CAM · 45 %")
    page.locator("#method").select_option("smooth_grad")
    expect(shown).to_have_attribute("data-heatmap", "")
    expect(label).to_be_empty()
    expect(page.locator("#heatmap-caution")).to_be_hidden()
    expect(page.locator("#said")).to_have_text("SmoothGrad: its heatmap has not been computed yet.")
    expect(page.get_by_role("toolbar").get_by_role("button", name="Heatmap")).to_be_disabled()
    page.locator("#method").select_option("grad_cam")
    expect(label).to_have_text("Grad-CAM · 45 %")


def test_the_map_of_a_film_that_cannot_be_assessed_stays_off_while_folded(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """`o` does nothing until the fold is opened, and closing it takes the map away again."""
    job = running_stack.submit(film_of("no chest"))
    assert running_stack.done(job.id).result
    page = open_page()
    page.goto(f"{running_stack.url}/jobs/{job.id}")
    shown = page.locator("#viewer")
    expect(shown).to_have_attribute("data-heatmap-opacity", "0")
    page.keyboard.press("o")
    expect(shown).to_have_attribute("data-heatmap-opacity", "0")
    page.locator(".moot summary").click()
    page.keyboard.press("o")
    expect(shown).not_to_have_attribute("data-heatmap-opacity", "0")
    page.locator(".moot summary").click()
    expect(shown).to_have_attribute("data-heatmap-opacity", "0")


def test_without_scripts_film_and_map_lie_side_by_side_in_the_systems_colours(
    chromium: Browser, session_cookies: StorageState, film: str
) -> None:
    """A light system gets a light page, and no control that would do nothing."""
    options = {"viewport": DESK, "storage_state": session_cookies, "java_script_enabled": False}
    with window(chromium, **options, color_scheme="light") as context:
        page = context.new_page()
        page.goto(film)
        expect(page.locator("body")).to_have_css("background-color", "rgb(243, 245, 245)")
        for name in (".tools", ".dial", ".heatmap-controls", ".curl button"):
            expect(page.locator(name)).to_be_hidden()
        strip, whole = page.locator(".film-facts").bounding_box(), page.locator(".lightbox").bounding_box()
        assert (strip and strip["width"]) == (whole and whole["width"])
        left, right = (image.bounding_box() for image in page.locator("noscript img").all())
        assert left
        assert right
        assert left["x"] + left["width"] <= right["x"]


def test_without_scripts_the_worklist_invites_to_nothing_that_needs_them(
    chromium: Browser, session_cookies: StorageState, running_stack: Service
) -> None:
    """Films cannot be dropped there; how to send them all the same is linked."""
    with window(chromium, viewport=DESK, storage_state=session_cookies, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(running_stack.url)
        expect(page.get_by_text("drop films or folders anywhere on this page")).to_be_hidden()
        expect(page.locator(".intake").get_by_role("link", name="the API")).to_have_attribute("href", "/api/docs")


def test_without_scripts_an_empty_list_says_so(plain_page: Page, running_stack: Service) -> None:
    """In place of a table that is heads alone."""
    plain_page.goto(f"{running_stack.url}/?status=expired&verdict=normal")
    expect(plain_page.get_by_text("No film matches this filter.")).to_be_visible()
    expect(plain_page.locator("table")).to_be_hidden()


def test_the_film_has_a_role_and_a_name(open_page: Callable[..., Page], film: str) -> None:
    """Whoever lands on it by Tab hears what it is and which keys it knows."""
    page = open_page()
    page.goto(film)
    image = page.get_by_role("img", name="The film", exact=True)
    expect(image).to_be_visible()
    expect(image).to_have_accessible_description(
        "Arrow keys move the film, + and - zoom, r and l turn it, b and d make it brighter and darker, "
        "0 restores the original view."
    )


def test_what_is_wished_before_the_film_is_there_holds_for_it(open_page: Callable[..., Page], film: str) -> None:
    """The tools stand there before the film does: what they were told is not lost when it comes."""
    page = open_page()
    page.goto(film)
    page.keyboard.press("o")
    expect(page.locator("#viewer")).to_have_attribute("data-heatmap-opacity", "0")
    page.wait_for_function(f"() => (sum => sum.grey > 0 && sum.colour === 0)(({SUM_OF_COLOURS})())")
    before = page.evaluate(SUM_OF_COLOURS)["grey"]
    held: list[Route] = []
    page.route("**/film?*", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks it
    page.goto(film, wait_until="domcontentloaded")  # which the scripts precede; what is held may hold up the load
    heatmap, invert = (page.locator(f"[data-view={name}]") for name in ("heatmap", "invert"))
    expect(heatmap).to_have_attribute("aria-pressed", "false")  # as it was left
    heatmap.click()
    page.keyboard.press("i")
    page.keyboard.press("+")
    expect(heatmap).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#viewer-words")).to_have_text("Loading the film")
    wait_until(lambda: page.wait_for_timeout(20) or held, "the film to be asked for")
    held[0].continue_()
    expect(page.locator("#viewer[data-heatmap-opacity^='0.']")).to_be_visible()
    expect(heatmap).to_have_attribute("aria-pressed", "true")
    expect(invert).to_have_attribute("aria-pressed", "true")
    page.wait_for_function(f"before => (sum => sum.grey > 0 && sum.grey !== before)(({SUM_OF_COLOURS})())", arg=before)


def test_a_film_on_its_way_is_told_before_what_shows_it_is_there(open_page: Callable[..., Page], film: str) -> None:
    """Over a slow connection the viewer alone takes seconds: a black field without a word looks like a black film."""
    page = open_page()
    held: list[Route] = []
    page.route("**/openseadragon*.js", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks it
    page.goto(film, wait_until="commit")
    expect(page.locator("#viewer-words")).to_have_text("Loading the film")
    wait_until(lambda: page.wait_for_timeout(20) or held, "the viewer to be asked for")
    held[0].continue_()
    expect(page.locator("#viewer-words")).to_be_empty()


def test_keys_can_be_turned_off(open_page: Callable[..., Page], film: str) -> None:
    """The switch stands in the list of keys, and is remembered on the next page."""
    page = open_page()
    page.keyboard.press("?")
    page.locator("#letters").uncheck()
    page.get_by_role("button", name="Close").click()
    page.goto(film)
    expect(page.locator("#viewer-words")).to_be_empty()
    page.keyboard.press("i")
    page.keyboard.press("?")
    expect(page.locator("[data-view=invert]")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("dialog#keys")).to_be_hidden()
    page.get_by_role("button", name="Keys").click()
    page.locator("#letters").check()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("i")
    expect(page.locator("[data-view=invert]")).to_have_attribute("aria-pressed", "true")


def test_w_leads_back_to_the_list_as_it_was_filtered(
    open_page: Callable[..., Page], running_stack: Service, film: str
) -> None:
    """The filter stands in the address again; from every page."""
    page = open_page()
    page.goto(page.url + "?status=succeeded")
    page.locator("#rows a").first.click()
    page.wait_for_url("**/jobs/*")
    expect(page.locator("#viewer-words")).to_be_empty()
    page.keyboard.press("w")
    page.wait_for_url("**/?status=succeeded")
    page.goto(f"{running_stack.url}/model")
    page.keyboard.press("w")
    page.wait_for_url("**/?status=succeeded")


def test_the_focus_goes_to_a_heading_where_its_button_went(
    open_page: Callable[..., Page], running_stack: Service, film: str
) -> None:
    """After measuring to that of the numbers, which stays where it was; after a cancel to the verdict's."""
    page = open_page()
    page.goto(film)
    heading = page.get_by_role("heading", name="What this heatmap is worth")
    heading.scroll_into_view_if_needed()
    with frozen_worker(running_stack):
        before = heading.bounding_box()
        page.get_by_role("button", name="Measure it").press("Enter")
        expect(heading).to_be_focused()
        assert heading.bounding_box() == before
        job = running_stack.submit(film_of("cancelled"))
        page.goto(f"{running_stack.url}/jobs/{job.id}")
        page.get_by_role("button", name="Cancel this job").press("Enter")
        expect(page.get_by_role("heading", name="Cancelled")).to_be_focused()


def test_a_warning_above_leaves_the_views_controls_on_the_screen(open_page: Callable[..., Page], film: str) -> None:
    """The film gives way, not the page."""
    page = open_page()
    page.goto(film)
    page.evaluate(
        "() => { const bar = document.getElementById('trouble'); bar.hidden = false; bar.textContent = 'No.'; }"
    )
    dial = page.locator(".dial").bounding_box()
    assert dial
    assert dial["y"] + dial["height"] <= DESK["height"]


def test_the_chosen_filter_is_outlined_in_forced_colours(open_page: Callable[..., Page]) -> None:
    """Where grounds are the system's, the outline tells it from the others."""
    page = open_page()
    page.emulate_media(forced_colors="active")
    expect(page.locator(".filters [aria-current]").first).to_have_css("outline-style", "solid")
    expect(page.locator(".filters a:not([aria-current])").first).to_have_css("outline-style", "none")


def test_a_film_is_deleted_from_its_page_by_keyboard(open_page: Callable[..., Page], running_stack: Service) -> None:
    """One has to unfold the question first; the list, filtered as it was, says that it is gone and has it no longer."""
    job = running_stack.submit(film_of("to be deleted"))
    running_stack.done(job.id)
    page = open_page()
    filtered = f"{running_stack.url}/?status=succeeded&reviewed=no"
    page.goto(filtered)
    page.goto(f"{running_stack.url}/jobs/{job.id}")
    expect(page.locator("#viewer[data-heatmap-opacity='']")).to_have_count(0)  # pictures asked for later are 410
    page.wait_for_load_state("networkidle")
    delete = page.get_by_role("button", name="Delete for good")
    expect(delete).to_be_hidden()
    page.locator(".deleting summary").focus()
    page.keyboard.press("Enter")
    expect(delete).to_be_visible()
    page.keyboard.press("Tab")
    expect(delete).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text=f"Film {job.id[-8:]} is deleted.")).to_be_visible()
    expect(page.locator(f'[data-job="{job.id}"]')).to_have_count(0)
    expect(page).to_have_url(filtered)


def test_the_list_of_keys_closes_beside_it_and_not_on_its_edge(open_page: Callable[..., Page]) -> None:
    """Its padding is part of it."""
    page = open_page()
    keys = page.locator("dialog#keys")
    page.keyboard.press("?")
    box = keys.bounding_box()
    assert box
    page.mouse.click(box["x"] + 8, box["y"] + 8)
    expect(keys).to_be_visible()
    page.mouse.click(box["x"] - 8, box["y"] + 8)
    expect(keys).to_be_hidden()


def test_history_gives_exact_times(open_page: Callable[..., Page], film: str) -> None:
    """As the record above it does."""
    page = open_page()
    page.goto(film)
    page.locator(".history summary").click()
    for time in page.locator(".history time").all():
        assert (time.get_attribute("title") or "").startswith(time.inner_text())
