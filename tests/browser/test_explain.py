"""A person asks a running service why: another method, its state, its overlay and its numbers, without a reload."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import AXE_RULES, DESK, PHONE, WAIT_MS
from tests.browser.test_upload import SUM_OF_COLOURS
from tests.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.browser


def choose(page: Page, method: str) -> None:
    """Pick a method and press Show."""
    page.locator("#method").select_option(method)
    page.get_by_role("button", name="Show").click()


def expect_drawn(page: Page, method: str) -> None:
    """The overlay of this method lies over the film."""
    expect(page.locator(f"#viewer[data-heatmap$='/explanations/{method}']")).to_be_visible()
    expect(page.locator("#viewer[data-heatmap-opacity='']")).to_have_count(0)


def hold_first(page: Page, address: str) -> list[Route]:
    """The first request to it goes no further than the browser until it is told to; the others do."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route(address, hold)
    return held


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_another_methods_map_is_asked_for_and_shown_without_a_reload(
    open_page: Callable[..., Page], film: str, viewport: dict[str, int]
) -> None:
    """The verdict's map gives way to a waiting line, then to the new overlay with its numbers; the address keeps it."""
    page = open_page(viewport)
    page.goto(film)
    expect_drawn(page, "grad_cam")
    page.evaluate("window.stayed = true")
    choose(page, "gradient")
    expect(page.locator("#heatmap[data-method=gradient]")).to_be_visible()
    expect(page.locator("#heatmap[data-method=gradient][data-map-status=succeeded]")).to_be_visible()
    expect_drawn(page, "gradient")
    expect(page.locator("#said")).to_have_text("Gradient is shown.")
    expect(page.locator(".worth")).to_contain_text("Marked parts removed first")
    expect(page.locator("#heatmap-caution")).to_contain_text("not where disease is.")
    assert page.evaluate("window.stayed")
    expect(page).to_have_url(f"{film}?map=gradient")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    found = Axe().run(page, options=AXE_RULES)
    assert found.violations_count == 0, found.generate_report()
    page.reload()
    expect_drawn(page, "gradient")


def test_going_back_to_a_map_that_is_there_draws_it_at_once(open_page: Callable[..., Page], film: str) -> None:
    """One overlay at a time; slider and switch go on to work for the one that is shown."""
    page = open_page()
    page.goto(film)
    choose(page, "grad_cam_plus_plus")
    expect_drawn(page, "grad_cam_plus_plus")
    choose(page, "grad_cam")
    expect_drawn(page, "grad_cam")
    page.locator("#opacity").fill("65")
    expect(page.locator("#viewer")).to_have_attribute("data-heatmap-opacity", "1")
    page.keyboard.press("o")
    expect(page.locator("#viewer")).to_have_attribute("data-heatmap-opacity", "0")
    page.wait_for_function(f"() => ({SUM_OF_COLOURS})().colour === 0")  # the other overlay is gone, too


def test_another_method_can_be_chosen_while_one_is_made(open_page: Callable[..., Page], film: str) -> None:
    """The slowest is asked for, and before it is there the quickest: that one is shown, and nothing is refused."""
    page = open_page()
    page.goto(film)
    answers: list[int] = []
    page.on("response", lambda answer: answers.append(answer.status))
    choose(page, "smooth_grad")
    expect(page.locator("#heatmap[data-method=smooth_grad]")).to_be_visible()
    choose(page, "gradient")
    expect_drawn(page, "gradient")
    assert max(answers) < 400


def test_a_poll_that_is_under_way_takes_no_choice_back(open_page: Callable[..., Page], film: str) -> None:
    """Its answer comes after another method was chosen, and changes nothing; Show then asks for the chosen one."""
    page = open_page()
    page.goto(film)
    held: list[Route] = []
    page.route("**/heatmap?*", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks it
    choose(page, "smooth_grad")
    wait_until(lambda: page.wait_for_timeout(20) or held, "a poll")
    page.locator("#method").select_option("gradient")
    page.evaluate("document.addEventListener('htmx:afterOnLoad', () => { window.polled = true; })")
    had_not_seen = held[0].fetch(url=re.sub("seen=[^&]*", "seen=", held[0].request.url), timeout=WAIT_MS)
    assert had_not_seen.status == 200
    held[0].fulfill(response=had_not_seen)
    page.wait_for_function("() => window.polled")
    expect(page.locator("#method")).to_have_value("gradient")
    page.unroute("**/heatmap?*")
    page.get_by_role("button", name="Show").click()
    expect_drawn(page, "gradient")


def test_the_verdicts_own_map_is_measured_on_request(open_page: Callable[..., Page], film: str) -> None:
    """It stays drawn all the while; its numbers come by themselves."""
    page = open_page()
    page.goto(film)
    page.get_by_role("button", name="Measure it").click()
    expect_drawn(page, "grad_cam")
    expect(page.locator(".worth")).to_contain_text("Agreement with Integrated gradients")
    expect_drawn(page, "grad_cam")


def test_a_map_can_be_had_without_javascript(plain_page: Page, film: str, running_stack: Service) -> None:
    """The form alone asks; the page says that the map waits, and later shows it over the film with its numbers."""
    plain_page.goto(film)
    choose(plain_page, "grad_cam_plus_plus")
    expect(plain_page).to_have_url(f"{film}?map=grad_cam_plus_plus#heatmap")
    job_id = film.rsplit("/", 1)[1]
    running_stack.explained(job_id, "grad_cam_plus_plus")
    plain_page.goto(f"{film}?map=grad_cam_plus_plus")
    expect(plain_page.locator(".worth")).to_contain_text("Marked parts shown first")
    assert f"/api/v1/jobs/{job_id}/explanations/grad_cam_plus_plus" in plain_page.content()


def test_of_two_maps_chosen_quickly_the_later_is_shown(
    open_page: Callable[..., Page], film: str, running_stack: Service
) -> None:
    """Though the answer of the first comes late, and first."""
    for method in ("gradient", "grad_cam_plus_plus"):
        answer = running_stack.http.post(
            f"/api/v1/jobs/{film.rsplit('/', 1)[1]}/explanations",
            json={"method": method},
            headers=running_stack.headers,
        )
        answer.raise_for_status()
        running_stack.explained(film.rsplit("/", 1)[1], method)
    page = open_page()
    page.goto(film)
    expect_drawn(page, "grad_cam")
    held = hold_first(page, "**/explanations?show=1")
    page.locator("#method").select_option("gradient")
    wait_until(lambda: page.wait_for_timeout(20) or held, "the first choice to be asked for")
    page.locator("#method").select_option("grad_cam_plus_plus")
    held[0].continue_()
    expect_drawn(page, "grad_cam_plus_plus")
    expect(page.locator("#method")).to_have_value("grad_cam_plus_plus")
    expect(page).to_have_url(f"{film}?map=grad_cam_plus_plus")


def test_the_answer_of_a_map_that_was_left_takes_no_choice_back(open_page: Callable[..., Page], film: str) -> None:
    """Another one was chosen meanwhile that has to be made: Show then asks for that."""
    page = open_page()
    page.goto(film)
    expect_drawn(page, "grad_cam")
    held = hold_first(page, "**/explanations?show=1")
    page.locator("#method").select_option("gradient")
    page.get_by_role("button", name="Show").click()
    wait_until(lambda: page.wait_for_timeout(20) or held, "the first choice to be asked for")
    page.locator("#method").select_option("smooth_grad")
    page.evaluate("document.addEventListener('htmx:afterOnLoad', () => { window.answered = true; })")
    held[0].continue_()
    page.wait_for_function("() => window.answered")
    expect(page.locator("#method")).to_have_value("smooth_grad")
    expect(page).to_have_url(film)
    page.get_by_role("button", name="Show").click()
    expect_drawn(page, "smooth_grad")


def test_a_review_leads_back_to_the_map_that_is_shown(open_page: Callable[..., Page], film: str) -> None:
    """Also where it came without a reload."""
    page = open_page()
    page.goto(film)
    page.locator("#method").select_option("gradient")
    page.get_by_role("button", name="Show").click()
    expect_drawn(page, "gradient")
    page.get_by_role("button", name="Normal", exact=True).click()
    expect(page.get_by_role("heading", name="You said: Normal")).to_be_visible()
    expect(page).to_have_url(f"{film}?map=gradient#review")
    expect_drawn(page, "gradient")
