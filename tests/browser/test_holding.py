"""The service takes no film now: sending waits and goes on by itself, and no film is given up for it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import AXE_RULES, DESK, PHONE
from tests.browser.test_cancelling import CANCELLED, stop_clock
from tests.browser.test_sending import films
from tests.browser.test_upload import ACCEPTED, send
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

PAUSED = '.upload[data-state="paused"]'


class FullService:
    """Answers that there is no room until it is made; `keys` of what was sent to it."""

    def __init__(self, page: Page, status: int, retry_after: str | None) -> None:
        self.is_full = True
        self.keys: list[str] = []
        self.status = status
        self.headers = {"Retry-After": retry_after} if retry_after else {}
        page.route("**/api/v1/jobs?*", self.answer)

    def answer(self, route: Route) -> None:
        """As the service does, with its reason."""
        self.keys.append(route.request.headers["idempotency-key"])
        if not self.is_full:
            return route.continue_()
        body = json.dumps({"code": "queue_full", "detail": "Too many films wait."})
        return route.fulfill(
            status=self.status, content_type="application/problem+json", headers=self.headers, body=body
        )


@pytest.mark.parametrize(
    ("status", "viewport", "theme"), [(429, DESK, "dark"), (503, PHONE, "light"), (507, DESK, "light")]
)
def test_sending_goes_on_by_itself(
    open_page: Callable[..., Page], status: int, viewport: dict[str, int], theme: str
) -> None:
    """What was on its way says until when it waits; no other film is sent before, and in the end each is, once."""
    page = open_page(viewport, theme, allowed=(status,))
    full = FullService(page, status, "1")
    page.locator("#files").set_input_files(films(*(f"full-{status}-{number}" for number in range(6))))
    expect(page.locator(PAUSED).first).to_contain_text("Too many films wait. Sending resumes automatically at ")
    expect(page.locator("#sending-sum")).to_contain_text("6 on the way; sending resumes at ")
    wait_until(lambda: page.wait_for_timeout(20) or len(full.keys) > 5, "it to be asked again")
    assert len(set(full.keys)) <= 3
    expect(page.locator(PAUSED).first).to_be_visible()
    found = Axe().run(page, options=AXE_RULES)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    full.is_full = False
    expect(page.locator("#sending-sum")).to_have_text("6 sent")
    assert len(set(full.keys)) == 6


@pytest.mark.parametrize(("retry_after", "seconds"), [("86400", 60), (None, 5), ("Fri, 01 Jan 2100 00:00:00 GMT", 5)])
def test_the_wait_is_bounded(open_page: Callable[..., Page], retry_after: str | None, seconds: int) -> None:
    """A minute at most; five seconds where the answer does not say."""
    page = open_page(allowed=(503,))
    stop_clock(page)
    full = FullService(page, 503, retry_after)
    send(page, films("bounded")[0])
    expect(page.locator(PAUSED)).to_be_visible()
    page.clock.run_for(seconds * 1000 - 1)
    assert len(full.keys) == 1
    page.clock.run_for(1)
    wait_until(lambda: page.wait_for_timeout(20) or len(full.keys) == 2, "it to be asked again")


def test_a_press_on_retry_does_not_wait(open_page: Callable[..., Page]) -> None:
    """Nor does it for the others."""
    page = open_page(allowed=(429,))
    full = FullService(page, 429, "60")
    page.locator("#files").set_input_files(films("press-1", "press-2", "press-3", "press-4"))
    expect(page.locator(PAUSED)).to_have_count(3)
    full.is_full = False
    page.get_by_role("button", name="Retry: press-2.png").click()
    expect(page.locator(ACCEPTED)).to_have_count(4)


def test_films_that_are_held_back_can_be_cancelled_together(open_page: Callable[..., Page]) -> None:
    """They are not sent later; what comes after them is."""
    page = open_page(allowed=(507,))
    stop_clock(page)
    full = FullService(page, 507, "60")
    page.locator("#files").set_input_files(films("back-1", "back-2", "back-3", "back-4"))
    expect(page.locator(PAUSED)).to_have_count(3)
    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator("#sending-sum")).to_have_text("4 cancelled")
    expect(page.locator(CANCELLED, has_text="back-1")).to_contain_text("the service had not accepted it")
    expect(page.locator(CANCELLED, has_text="back-4")).to_contain_text("before it was sent")
    full.is_full = False
    send(page, films("after")[0])
    page.clock.run_for(60_000)
    expect(page.locator("#sending-sum")).to_have_text("1 sent, 4 cancelled")
    assert len(full.keys) == 4
