"""Fixtures only: Chromium, and pages that fail their test if the console or the network held a surprise."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright

from shared import samples
from tests.conftest import absent
from tests.service import Service

CHROMIUM = ("PLAINFILM_TEST_CHROMIUM", "chromium", "chromium-browser", "google-chrome")
WAIT_MS = 60_000
AXE_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The machine's own Chromium: PLAINFILM_TEST_CHROMIUM, else one on the PATH."""
    path = os.environ.get(CHROMIUM[0]) or next(filter(None, map(shutil.which, CHROMIUM[1:])), None)
    if path is None:
        absent("Chromium")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def session_cookies(chromium: Browser, running_stack: Service) -> StorageState:
    """What a browser holds after a one-time link."""
    context = chromium.new_context()
    context.new_page().goto(running_stack.login_url())
    held = context.storage_state()
    context.close()
    return held


@pytest.fixture
def plain_page(chromium: Browser, session_cookies: StorageState) -> Iterator[Page]:
    """A browser window without JavaScript."""
    context = chromium.new_context(viewport=PHONE, storage_state=session_cookies, java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    yield page
    context.close()


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
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        surprises: list[str] = []
        page.on("console", lambda message: surprises.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: surprises.append(str(error)))
        page.on("request", lambda request: surprises.append(request.url) if is_outside(request.url) else None)
        page.on("filechooser", lambda _: None)  # from the start: else a key may open one before Playwright listens
        page.goto(running_stack.url)
        opened.append((page, surprises, allowed))
        return page

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
