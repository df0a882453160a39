"""Lists of many films: what is drawn and said of them is bounded, and those in trouble are always there."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.test_cancelling import hold_requests
from tests.browser.test_sending import films
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

MANY, DRAWN = 300, 100
CHOOSE = """number => {
    const chosen = new DataTransfer();
    for (let i = 0; i < number; i++) chosen.items.add(new File([new Uint8Array([i & 255, i >> 8])], `film-${i}.png`));
    const input = document.getElementById('files');
    input.files = chosen.files;
    input.dispatchEvent(new Event('change'));
}"""
LISTEN = """() => {
    window.heard = [];
    const said = document.getElementById('said');
    new MutationObserver(() => window.heard.push(said.textContent)).observe(said, {childList: true});
}"""


class MadeUpService:
    """Accepts each film but the one that is marked, and tells its end; nothing reaches the real one."""

    def __init__(self, page: Page, refused: bytes = b"") -> None:
        self.refused = refused
        self.accepted = 0
        page.route("**/api/v1/batches", lambda route: route.fulfill(status=404, body="{}"))
        page.route("**/api/v1/jobs?*", self.take)
        page.route(re.compile("/api/v1/jobs/[^/]*$"), lambda route: route.fulfill(json={"done": True}))
        told = '<div id="findings" data-say="Verdict: none."></div>'
        page.route(re.compile("/jobs/[^/]*/findings"), lambda route: route.fulfill(content_type="text/html", body=told))

    def take(self, route: Route) -> None:
        """202, or 415 for the marked film."""
        if route.request.post_data_buffer == self.refused:
            body = '{"code": "unsupported_format", "detail": "No film."}'
            return route.fulfill(status=415, content_type="application/problem+json", body=body)
        self.accepted += 1
        links = {"page": f"/jobs/{self.accepted}", "self": f"/api/v1/jobs/{self.accepted}"}
        job = {"id": str(self.accepted), "done": False, "input": {"sha256": "0" * 64}, "links": links}
        return route.fulfill(status=202, json=job)


def test_of_many_films_a_part_is_drawn(open_page: Callable[..., Page]) -> None:
    """The one that was refused comes first; the last ones follow, and how many more there are; all are counted."""
    page = open_page(allowed=(404, 415))
    MadeUpService(page, refused=bytes([7, 0]))
    page.evaluate(LISTEN)
    page.evaluate(CHOOSE, MANY)
    expect(page.locator("#sending-sum")).to_have_text(f"{MANY - 1} sent, 1 refused")
    expect(page.locator(".upload")).to_have_count(DRAWN + 1)
    expect(page.locator(".upload").first).to_contain_text("film-7.pngNo film.")
    expect(page.locator(".upload").last).to_contain_text(f"film-{MANY - 1}.png")
    expect(page.locator("#more")).to_have_text(f"and {MANY - DRAWN - 1} more")
    expect(page.locator("#said")).to_have_text(f"{MANY - 1} sent, 1 refused")
    heard = page.evaluate("window.heard")
    assert not [words for words in heard if "was accepted" in words or "was refused" in words]
    expect(page.locator(".upload").last).to_contain_text("Verdict")
    page.get_by_role("button", name="Dismiss sent").click()
    expect(page.locator(".upload")).to_have_count(1)
    expect(page.locator("#more")).to_be_hidden()


def test_those_on_their_way_are_drawn(open_page: Callable[..., Page]) -> None:
    """With their progress, however many wait behind them; a film that was cancelled among them gives its place up."""
    page = open_page(allowed=(404, "net::ERR_ABORTED"))
    MadeUpService(page)
    held = hold_requests(page)
    page.evaluate(CHOOSE, MANY)
    wait_until(lambda: page.wait_for_timeout(20) or len(held) == 3, "three films to be on their way")
    expect(page.locator(".upload")).to_have_count(DRAWN)
    expect(page.locator('.upload[data-state="sending"]')).to_have_count(3)
    page.get_by_role("button", name="Cancel: film-1.png").click()
    expect(page.get_by_role("progressbar", name="film-3.png")).to_be_visible()
    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator("#sending-sum")).to_have_text(f"{MANY} cancelled")
    expect(page.locator(".upload")).to_have_count(DRAWN)


def test_a_few_films_are_told_one_by_one(open_page: Callable[..., Page]) -> None:
    """To those who listen, by their names."""
    page = open_page(allowed=(404,))
    MadeUpService(page)
    page.evaluate(LISTEN)
    page.locator("#files").set_input_files(films("heard-1", "heard-2"))
    expect(page.locator("#sending-sum")).to_have_text("2 sent")
    heard = page.evaluate("window.heard")
    assert {"heard-1.png was accepted.", "heard-2.png was accepted."} <= set(heard)
