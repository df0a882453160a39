"""Films that are taken back on their way: what the page says of each is so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from shared.domain import JobState
from tests.browser.conftest import AXE_RULES, DESK, PHONE
from tests.browser.test_sending import films
from tests.browser.test_upload import ACCEPTED, send
from tests.service import Service, frozen_worker
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

CANCELLED = '.upload[data-state="cancelled"]'

HOLD_ANSWERS = """() => {
    window.released = new Promise(release => (window.release = release));
    Object.defineProperty(XMLHttpRequest.prototype, 'onloadend', {
        set(told) { this.addEventListener('loadend', () => window.released.then(told)); },
    });
}"""
"""The page learns of what came to its sendings when it is told to; the service has done them by then."""


def hold_requests(page: Page) -> list[Route]:
    """Sendings that go no further than the browser."""
    held: list[Route] = []
    page.route("**/api/v1/jobs?*", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks it
    return held


def stop_clock(page: Page) -> None:
    """Time stands still there until the test lets it run, but the page is drawn."""
    page.evaluate("() => { window.drawNext = requestAnimationFrame.bind(window); }")
    page.clock.install()
    page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))
    page.evaluate("() => { window.requestAnimationFrame = window.drawNext; }")


def press_cancel(page: Page, name: str) -> None:
    """In the line of this film."""
    page.get_by_role("button", name=f"Cancel: {name}.png").click()


def newest(service: Service, but: set[str]) -> str:
    """The id of the one job that was not there before."""
    return wait_until(lambda: {job.id for job in service.jobs()} - but, "the film to be accepted").pop()


@pytest.mark.parametrize(("viewport", "theme"), [(DESK, "dark"), (PHONE, "light")], ids=["desk", "phone"])
def test_a_film_that_waits_or_is_being_sent_can_be_cancelled(
    open_page: Callable[..., Page], running_stack: Service, viewport: dict[str, int], theme: str
) -> None:
    """The request of one is broken off, and the next takes its place; one that waits is never sent, and told so."""
    page = open_page(viewport, theme, allowed=("net::ERR_ABORTED",))
    held, ended = hold_requests(page), []
    page.on("requestfailed", lambda request: ended.append(request.url))
    before = {job.id for job in running_stack.jobs()}
    page.locator("#files").set_input_files(films(*(f"take-back-{number}" for number in range(5))))
    wait_until(lambda: page.wait_for_timeout(20) or len(held) == 3, "three films to be on their way")
    expect(page.locator("#sending-sum")).to_have_text("5 on the way")
    found = Axe().run(page, options=AXE_RULES)
    assert found.violations_count == 0, found.generate_report()
    press_cancel(page, "take-back-4")
    line = page.locator(".upload", has_text="take-back-4")
    expect(line).to_contain_text("Cancelled before it was sent.")
    expect(line).to_be_focused()
    press_cancel(page, "take-back-0")
    expect(page.locator(".upload", has_text="take-back-0")).to_contain_text("Cancelled during upload.")
    wait_until(lambda: page.wait_for_timeout(20) or (ended and len(held) == 4), "the next film to be sent instead")
    expect(page.locator("#sending-sum")).to_have_text("3 on the way, 2 cancelled")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator("#sending-sum")).to_have_text("5 cancelled")
    expect(page.get_by_role("button", name="Choose films")).to_be_focused()
    page.get_by_role("button", name="Dismiss cancelled").click()
    expect(page.locator("#sending")).to_be_hidden()
    assert {job.id for job in running_stack.jobs()} == before


def test_a_film_that_had_arrived_is_cancelled_by_the_service(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """It is told, with a link to the job, which has ended as cancelled."""
    page = open_page()
    page.evaluate(HOLD_ANSWERS)
    before = {job.id for job in running_stack.jobs()}
    with frozen_worker(running_stack):
        send(page, films("arrived")[0])
        job_id = newest(running_stack, before)
        expect(page.get_by_role("progressbar", name="The service is checking arrived.png")).to_be_visible()
        press_cancel(page, "arrived")
        expect(page.locator('.upload[data-state="cancelling"]')).to_be_visible()
        assert running_stack.job(job_id).status is JobState.QUEUED
        page.evaluate("window.release()")
        expect(page.locator(CANCELLED)).to_contain_text("Cancelled after it was accepted")
        assert running_stack.job(job_id).status is JobState.CANCELLED
    expect(page.locator(f"{CANCELLED} a")).to_have_attribute("href", f"/jobs/{job_id}")
    expect(page.locator(f"#job-{job_id}")).to_have_attribute("data-status", "cancelled")


def test_a_film_that_was_answered_first_is_said_to_be(open_page: Callable[..., Page], running_stack: Service) -> None:
    """Its verdict is there, and so says its line; nothing is said to be cancelled."""
    page = open_page(allowed=(409,))
    page.evaluate(HOLD_ANSWERS)
    before = {job.id for job in running_stack.jobs()}
    send(page, films("answered")[0])
    running_stack.done(newest(running_stack, before))
    expect(page.get_by_role("progressbar", name="The service is checking answered.png")).to_be_visible()
    press_cancel(page, "answered")
    expect(page.locator('.upload[data-state="cancelling"]')).to_be_visible()
    page.evaluate("window.release()")
    expect(page.locator(ACCEPTED)).to_contain_text("Verdict")
    expect(page.locator("#sending-sum")).to_have_text("1 sent")


def test_a_film_that_cannot_be_cancelled_is_said_to_be_accepted(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """The service does not answer the cancel: the line leads to the film, where one can try again."""
    page = open_page(allowed=(503,))
    page.evaluate(HOLD_ANSWERS)
    page.route("**/cancel", lambda route: route.fulfill(status=503, body="{}"))
    before = {job.id for job in running_stack.jobs()}
    with frozen_worker(running_stack):
        send(page, films("kept on")[0])
        newest(running_stack, before)
        expect(page.get_by_role("progressbar", name="The service is checking kept on.png")).to_be_visible()
        press_cancel(page, "kept on")
        page.evaluate("window.release()")
        expect(page.locator(ACCEPTED)).to_have_text("Accepted; it could not be cancelled: open the film to try again")


def test_a_film_that_pauses_after_a_lost_connection_is_not_sent_again(open_page: Callable[..., Page]) -> None:
    """Whether it had arrived nobody knows, and the line does not say that it had not."""
    page = open_page(allowed=("net::ERR_CONNECTION_RESET",))
    stop_clock(page)  # the next try is as far away as the test wants it
    tries: list[str] = []

    def lose(route: Route) -> None:
        tries.append(route.request.url)
        route.abort("connectionreset")

    page.route("**/api/v1/jobs?*", lose)
    send(page, films("paused")[0])
    expect(page.locator('.upload[data-state="paused"]')).to_be_visible()
    tried = len(tries)
    press_cancel(page, "paused")
    expect(page.locator(CANCELLED)).to_contain_text("If it arrived anyway, it is in the list.")
    page.clock.run_for(60_000)
    expect(page.locator(CANCELLED)).to_be_visible()
    assert len(tries) == tried
