"""The worklist while many films are on their way: one page of rows, in order, each film once, none left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.rig import film_of
from tests.service import Service, freeze
from web.pages import PAGE_ROWS

pytestmark = pytest.mark.browser

FILMS = 40


@pytest.fixture
def still_worker(running_stack: Service) -> Iterator[Callable[[], None]]:
    """The worker stands still until the given function is called, at the latest until the test ends."""
    group = running_stack.pids("worker", "run")[0]
    freeze(running_stack, group)
    yield lambda: os.killpg(group, signal.SIGCONT)
    os.killpg(group, signal.SIGCONT)


def ids(page: Page) -> list[str]:
    """The jobs of the shown rows, from top to bottom."""
    found: list[str] = page.eval_on_selector_all("#rows tr", "rows => rows.map(row => row.dataset.job)")
    return found


def expect_newest(page: Page, sent: list[str]) -> None:
    """One page of the sent films, newest first, each with its picture; the rest is on the next page."""
    expect(page.locator(f"#job-{sent[-1]}")).to_be_visible()
    expect(page.locator("#rows tr")).to_have_count(PAGE_ROWS)
    assert ids(page) == sent[::-1][:PAGE_ROWS]
    expect(page.locator("#rows img")).to_have_count(PAGE_ROWS)
    assert page.locator("#older").evaluate("e => new URL(e.href).searchParams.get('cursor')") == ids(page)[-1]


def test_many_films_sent_at_once_leave_no_row_behind(
    open_page: Callable[..., Page], running_stack: Service, still_worker: Callable[[], None]
) -> None:
    """Both lists show the newest 30 while all wait; after it no row says that its film still does."""
    everything, queued = open_page(), open_page()
    queued.goto(f"{running_stack.url}/?status=queued")
    sent = [running_stack.submit(film_of(f"row-{number}")).id for number in range(FILMS)]
    expect_newest(everything, sent)
    expect_newest(queued, sent)
    still_worker()
    for job_id in sent:
        running_stack.done(job_id)
    expect(everything.locator("#rows tr[data-status=succeeded]")).to_have_count(PAGE_ROWS)
    assert ids(everything) == sent[::-1][:PAGE_ROWS]
    expect(queued.locator("#rows tr")).to_have_count(0)
    expect(queued.locator("#empty")).to_be_visible()
    expect(queued.locator("#older")).to_be_hidden()


def test_a_row_that_came_twice_is_shown_once(open_page: Callable[..., Page], running_stack: Service) -> None:
    """Also where the service sends it again as new, for an answer that was on its way before."""
    job = running_stack.submit(film_of("twice"))
    page = open_page()
    expect(page.locator(f"#job-{job.id}")).to_be_visible()
    page.evaluate(
        """id => document.addEventListener('htmx:configRequest', event => {
            const known = event.detail.parameters;
            for (const name of ['shown', 'waiting']) known.set(name, known.get(name).split(' ')
                .filter(entry => !entry.startsWith(id)).join(' '));
        })""",
        job.id,
    )
    with page.expect_response(lambda answer: "/live?" in answer.url and job.id not in answer.url):
        page.evaluate("htmx.trigger('#live', 'refresh')")
    page.wait_for_timeout(500)
    expect(page.locator(f"#job-{job.id}")).to_have_count(1)
    expect(page.locator(f"#job-{job.id} img")).to_have_count(1)
