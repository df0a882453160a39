"""A person's way through the pages of a running service: send, wait, look, with mouse and with keys alone."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Route, expect

import shared
from tests.browser.conftest import AXE_RULES, DESK, PHONE, SUM_OF_COLOURS, WAIT_MS
from tests.factories import make_png
from tests.rig import film_of
from tests.service import Service, frozen_worker
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

SAMPLES = sorted((Path(shared.__file__).parent / "samples").glob("*.png"))
ACCEPTED = '.upload[data-state="accepted"] a'
REFUSED = '.upload[data-state="refused"]'
UNSENT = '.upload[data-state="unsent"]'
NO_POLLS = """document.addEventListener('htmx:configRequest', event => {
    if (!event.detail.triggeringEvent) event.preventDefault();
})"""
"""What htmx asks by its clock is triggered by no event."""


def sample() -> Path:
    """A film that comes with the service."""
    assert SAMPLES, "shared/samples holds no film"
    return SAMPLES[0]


def send(page: Page, film: Path | dict[str, Any]) -> None:
    """Choose a film the way the file dialog does."""
    page.locator("#files").set_input_files(film)


def open_sent_film(page: Page) -> None:
    """Follow the link of the film that was just accepted and wait for its verdict."""
    page.locator(ACCEPTED).first.click()
    expect(page.locator("#findings[data-status=succeeded]")).to_be_visible()


def row_of(page: Page, link: str) -> Locator:
    """The worklist's row of the film that `link` leads to."""
    return page.locator(f"#job-{link.rsplit('/', 1)[1]}")


def wait_for_colour(page: Page, *, more_than: float) -> dict[str, float]:
    """What the canvas holds once its colours add up to more."""
    page.wait_for_function(f"more => ({SUM_OF_COLOURS})().colour > more", arg=more_than)
    drawn: dict[str, float] = page.evaluate(SUM_OF_COLOURS)
    return drawn


def test_a_film_is_sent_and_its_verdict_appears_without_a_reload(open_page: Callable[..., Page]) -> None:
    """The sent film gets a row of its own that turns to succeeded by itself, with a verdict and a percentage."""
    page = open_page()
    page.evaluate("window.stayed = true")
    send(page, sample())
    row = row_of(page, page.locator(ACCEPTED).get_attribute("href") or "")
    expect(row).to_have_attribute("data-status", "succeeded")
    expect(row.locator(".verdict")).not_to_be_empty()
    assert page.evaluate("window.stayed")


def test_the_worklist_learns_of_a_sent_films_end_without_waiting_for_its_next_question(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """It waits for the film it sent, and asks for the rows as soon as that has ended: here its usual asking is off."""
    page = open_page()
    page.evaluate(NO_POLLS)
    with frozen_worker(running_stack):
        with page.expect_request(re.compile("/api/v1/jobs/[^/]*$")) as waits:
            send(page, {"name": "film.png", "mimeType": "image/png", "buffer": film_of("told")})
        row = row_of(page, page.locator(ACCEPTED).get_attribute("href") or "")
        expect(row).to_have_attribute("data-status", "queued")
        assert waits.value.headers["prefer"].startswith("wait=")
    expect(row).to_have_attribute("data-status", "succeeded")


def test_a_waiting_film_page_listens_instead_of_polling(open_page: Callable[..., Page], running_stack: Service) -> None:
    """While the worker stands still the page holds one stream and asks nothing; then the verdict comes by itself."""
    page = open_page()
    with frozen_worker(running_stack):
        send(page, {"name": "film.png", "mimeType": "image/png", "buffer": film_of("listen")})
        link = page.locator(ACCEPTED).first
        expect(link).to_be_visible()
        with page.expect_response(re.compile("/events$")):
            link.click()
        expect(page.locator("#findings[data-status=queued]")).to_be_visible()
        asked_at = [time.monotonic()]
        page.on("request", lambda request: asked_at.append(time.monotonic()) if "/findings" in request.url else None)
        wait_until(lambda: page.wait_for_timeout(100) or time.monotonic() - asked_at[-1] > 4, "polling to stop")
    expect(page.locator("#findings[data-status=succeeded]")).to_be_visible()


def test_the_heatmap_is_drawn_and_follows_its_slider(open_page: Callable[..., Page]) -> None:
    """Colour lies over the grey film, grows with the slider, and is gone when the heatmap is off."""
    page = open_page()
    send(page, sample())
    open_sent_film(page)
    usual = wait_for_colour(page, more_than=0)
    page.locator("#opacity").fill("65")
    wait_for_colour(page, more_than=usual["colour"] * 1.2)
    page.keyboard.press("o")
    page.wait_for_function(f"() => ({SUM_OF_COLOURS})().colour === 0")
    film: dict[str, float] = page.evaluate(SUM_OF_COLOURS)
    assert film["grey"] > 0
    expect(page.locator("#opacity")).to_have_value("0")
    page.locator("#opacity").fill("40")
    wait_for_colour(page, more_than=0)


def test_the_film_can_be_inverted_and_zoomed(open_page: Callable[..., Page]) -> None:
    """`i` turns the greys over and back, `+` enlarges, `0` shows the whole film again."""
    page = open_page()
    send(page, sample())
    open_sent_film(page)
    wait_for_colour(page, more_than=0)
    page.keyboard.press("o")
    page.wait_for_function(f"() => ({SUM_OF_COLOURS})().colour === 0")
    before = page.evaluate(SUM_OF_COLOURS)["grey"]
    page.keyboard.press("i")
    page.wait_for_function(f"before => ({SUM_OF_COLOURS})().grey !== before", arg=before)
    page.keyboard.press("i")
    page.wait_for_function(f"before => ({SUM_OF_COLOURS})().grey === before", arg=before)
    whole = page.locator("#zoom-words").inner_text()
    page.keyboard.press("+")
    expect(page.locator("#zoom-words")).not_to_have_text(whole)
    page.keyboard.press("0")
    expect(page.locator("#zoom-words")).to_have_text(whole)


def test_an_empty_file_is_refused_without_being_sent(open_page: Callable[..., Page]) -> None:
    """And without a retry: what is sent again is as empty."""
    page = open_page()
    send(page, {"name": "empty.png", "mimeType": "image/png", "buffer": b""})
    refused = page.locator(REFUSED)
    expect(refused).to_contain_text("The file is empty")
    expect(refused.get_by_role("button", name="Retry")).to_have_count(0)


def test_a_wrong_file_shows_why_it_was_refused(open_page: Callable[..., Page]) -> None:
    """Something that is no film is refused in words with its code, and offers no retry, which would change nothing."""
    page = open_page(allowed=(415,))
    send(page, {"name": "notes.png", "mimeType": "image/png", "buffer": b"these are notes"})
    refused = page.locator(REFUSED)
    expect(refused).to_contain_text("PNG")
    expect(refused.get_by_role("link", name="unsupported_format")).to_be_visible()
    expect(refused.get_by_role("button", name="Retry")).to_have_count(0)
    refused.get_by_role("button", name="Dismiss").click()
    expect(page.locator(REFUSED)).to_have_count(0)


def test_a_film_whose_sending_broke_off_can_be_sent_again(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """After a lost connection Retry sends the same film under the same key: one job, however often it is sent."""
    page = open_page(allowed=(500,))
    keys = []

    def lose_the_answer(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.fetch(timeout=WAIT_MS)
            route.fulfill(status=500, content_type="application/problem+json", body='{"detail": "Try again shortly."}')
        else:
            route.continue_()

    page.route("**/api/v1/jobs?*", lose_the_answer)
    send(page, {"name": "film.png", "mimeType": "image/png", "buffer": make_png()})
    page.locator(UNSENT).get_by_role("button", name="Retry").click()
    expect(page.locator(ACCEPTED)).to_be_visible()
    assert len(set(keys)) == 1
    with contextlib.closing(sqlite3.connect(running_stack.home / "plainfilm.db")) as rows:
        assert rows.execute("SELECT count(*) FROM jobs WHERE idempotency_key = ?", keys[:1]).fetchone() == (1,)


def test_many_films_are_sent_at_once(open_page: Callable[..., Page]) -> None:
    """Seven films chosen together are all accepted, each in its own line."""
    page = open_page()
    films = [{"name": f"{seed}.jpg", "mimeType": "image/png", "buffer": make_png()} for seed in range(7)]
    page.locator("#files").set_input_files(films)
    expect(page.locator(ACCEPTED)).to_have_count(7)


def test_a_film_can_be_dropped_anywhere(open_page: Callable[..., Page]) -> None:
    """A file let go over the page's end is sent; while it hovers, the page says what will be kept."""
    page = open_page()
    page.evaluate(
        """bytes => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(bytes)], 'film.png', {type: 'image/png'}));
            window.dropFilm = name => document.body.dispatchEvent(
                new DragEvent(name, {dataTransfer: files, bubbles: true, cancelable: true}));
        }""",
        list(make_png()),
    )
    page.evaluate("window.dropFilm('dragover')")
    expect(page.locator("#drop")).to_contain_text("only on this service")
    page.evaluate("window.dropFilm('drop')")
    expect(page.locator(ACCEPTED)).to_be_visible()
    expect(page.locator("#drop")).to_be_hidden()


def test_the_whole_way_can_be_gone_by_keys(open_page: Callable[..., Page]) -> None:
    """`u` opens the chooser, `j` and `k` move, Enter opens the film, `?` lists the keys, `w` leads back."""
    page = open_page()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("u")
    chooser.value.set_files([sample(), sample()])
    expect(page.locator(ACCEPTED)).to_have_count(2)
    for link in page.locator(ACCEPTED).all():
        expect(row_of(page, link.get_attribute("href") or "")).to_have_attribute("data-status", "succeeded")
    for key, place in (("j", 0), ("j", 1), ("k", 0)):
        page.keyboard.press(key)
        expect(page.locator("#rows a").nth(place)).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_contain_text("next film")
    page.keyboard.press("Escape")
    expect(page.locator("dialog#keys")).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    expect(page.locator("#findings")).to_be_visible()
    page.keyboard.press("w")
    page.wait_for_url(re.compile(r"/$"))


def test_a_session_that_ended_is_told(open_page: Callable[..., Page]) -> None:
    """When the session is gone, a page that is left open says how to get in again, and is quiet."""
    page = open_page(allowed=(401,))
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=401, content_type="application/problem+json", body="{}")

    page.route("**/live*", refuse)
    expect(page.locator("#trouble")).to_contain_text("plainfilm key link")
    page.wait_for_timeout(4000)
    assert len(asked) == 1  # and it asks no more, until somebody is there again
    page.keyboard.press("j")
    wait_until(lambda: page.wait_for_timeout(20) or len(asked) == 2, "it to ask again")


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_pages_are_accessible_and_fit(
    open_page: Callable[..., Page], running_stack: Service, viewport: dict[str, int], theme: str
) -> None:
    """No page has a violation of WCAG 2.2 AA that axe can find, nor runs wider than its window, in either theme."""
    job = running_stack.submit(sample().read_bytes())
    running_stack.done(job.id)
    page = open_page(viewport, theme)
    for address in ("/", f"/jobs/{job.id}", "/model", "/problems"):
        page.goto(running_stack.url + address)
        page.wait_for_load_state("networkidle" if address in {"/model", "/problems"} else "load")
        found = Axe().run(page, options=AXE_RULES)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], address


def test_the_film_takes_most_of_a_wide_window(open_page: Callable[..., Page], running_stack: Service) -> None:
    """At 1280 pixels the film has at least 60 % of the width, on black."""
    job = running_stack.submit(sample().read_bytes())
    page = open_page()
    page.goto(f"{running_stack.url}/jobs/{job.id}")
    box = page.locator(".lightbox").bounding_box()
    assert box
    assert box["width"] >= 0.6 * DESK["width"]
    assert page.locator(".lightbox").evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(0, 0, 0)"
