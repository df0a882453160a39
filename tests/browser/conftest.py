"""Fixtures only: Chromium, and pages that fail their test if the console or the network held a surprise."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, StorageState, expect, sync_playwright

from shared import samples
from tests.conftest import absent
from tests.service import Service
from tests.waiting import LIMIT_S

CHROMIUM = ("PLAINFILM_TEST_CHROMIUM", "chromium", "chromium-browser", "google-chrome")
WAIT_MS = LIMIT_S * 1000
AXE_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}

UNANSWERED = re.compile(r"htmx:(afterRequest|sendAbort|sendError|timeout)\b")
"""What htmx tells the console of a request without an answer. Where that is an error the browser tells it, too; else it
took ten seconds, as it may on a busy machine, or another one took its place."""

SUM_OF_COLOURS = """() => {
    const canvas = document.querySelector('#viewer canvas');
    if (!canvas) return {grey: 0, colour: 0};
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let grey = 0, colour = 0;
    for (let i = 0; i < pixels.length; i += 4) {
        grey += pixels[i];
        colour += Math.abs(pixels[i] - pixels[i + 2]);
    }
    return {grey, colour};
}"""
"""How bright the drawn film is in all, and how far from grey."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The machine's own Chromium: PLAINFILM_TEST_CHROMIUM, else one on the PATH."""
    path = os.environ.get(CHROMIUM[0]) or next(filter(None, map(shutil.which, CHROMIUM[1:])), None)
    if path is None:
        absent("Chromium")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=WAIT_MS)
        yield browser
        browser.close()


@contextmanager
def window(chromium: Browser, **options: Any) -> Iterator[BrowserContext]:  # Any: Playwright's own options
    """A browser window of its own, patient, until the block ends."""
    context = chromium.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    try:
        yield context
    finally:
        context.close()


@pytest.fixture(scope="session")
def session_cookies(chromium: Browser, running_stack: Service) -> StorageState:
    """What a browser holds after a one-time link."""
    with window(chromium) as context:
        context.new_page().goto(running_stack.login_url())
        return context.storage_state()


@pytest.fixture
def plain_page(chromium: Browser, session_cookies: StorageState) -> Iterator[Page]:
    """A browser window without JavaScript."""
    with window(chromium, viewport=PHONE, storage_state=session_cookies, java_script_enabled=False) as context:
        yield context.new_page()


@pytest.fixture
def open_page(
    chromium: Browser, running_stack: Service, session_cookies: StorageState
) -> Iterator[Callable[..., Page]]:
    """Opens the worklist in a browser window of its own; `allowed` names the statuses and errors it provokes."""
    opened: list[tuple[Page, list[str], tuple[int | str, ...]]] = []

    def open_worklist(
        viewport: dict[str, int] = DESK, theme: str = "dark", allowed: tuple[int | str, ...] = ()
    ) -> Page:
        context = chromium.new_context(
            viewport=viewport, color_scheme=theme, reduced_motion="reduce", storage_state=session_cookies
        )
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        surprises: list[str] = []
        page.on("console", lambda message: surprises.append(message.text) if is_surprise(message) else None)
        page.on("pageerror", lambda error: surprises.append(str(error)))
        page.on("request", lambda request: surprises.append(request.url) if is_outside(request.url) else None)
        page.on("filechooser", lambda _: None)  # from the start: else a key may open one before Playwright listens
        page.goto(running_stack.url)
        opened.append((page, surprises, allowed))
        return page

    def is_surprise(message: ConsoleMessage) -> bool:
        return message.type == "error" and not UNANSWERED.match(message.text)

    def is_outside(url: str) -> bool:
        return not url.startswith((running_stack.url, "data:", "blob:"))

    yield open_worklist
    for page, surprises, allowed in opened:
        page.context.close()
        provoked = re.compile(rf"(status of|Code|resource:) ({'|'.join(map(str, allowed)) or 'none'})\b")
        assert [text for text in surprises if not provoked.search(text)] == []


@pytest.fixture
def film(running_stack: Service) -> str:
    """The address of a film with a verdict and no map beside it."""
    job = running_stack.submit(samples.paths()[0].read_bytes())
    running_stack.done(job.id)
    return f"{running_stack.url}/jobs/{job.id}"
