"""The worklist while many films are on their way: one page of rows, in order, each film once, none left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from shared import wire
from tests.rig import film_of
from tests.service import Service, frozen_worker
from web.worklist_page import PAGE_ROWS

pytestmark = pytest.mark.browser

FILMS = 40


@pytest.fixture
def still_worker(running_stack: Service) -> Iterator[Callable[[], None]]:
    """The worker stands still until the given function is called, at the latest until the test ends."""
    with frozen_worker(running_stack) as group:
        yield lambda: os.killpg(group, signal.SIGCONT)


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
        """id => { document.addEventListener('htmx:configRequest', event => {
            const known = event.detail.parameters;
            for (const name of ['shown', 'waiting']) known.set(name, known.get(name).split(' ')
                .filter(entry => !entry.startsWith(id)).join(' '));
        });
        document.addEventListener('htmx:afterOnLoad', event => {
            const asked = event.detail.xhr.responseURL;
            window.cameTwice ||= asked.includes('/live?') && !asked.includes(id);
        });
        htmx.trigger('#live', 'refresh'); }""",
        job.id,
    )
    page.wait_for_function("() => window.cameTwice")
    expect(page.locator(f"#job-{job.id}")).to_have_count(1)
    expect(page.locator(f"#job-{job.id} img")).to_have_count(1)


def test_from_film_to_film_in_the_lists_order_and_back_to_its_row(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """`j` and `k` lead on as in the list, so do links; back there, by the link above, filter and row are as before.

    The list is a batch's, so that no other test's film stands between them.
    """
    made = running_stack.http.post("/api/v1/batches", headers=running_stack.headers)
    batch = wire.Batch.model_validate_json(made.content)
    sent = [running_stack.submit(film_of(f"beside-{number}"), batch=batch.id).id for number in range(3)]
    for job_id in sent:
        running_stack.done(job_id)
    page = open_page()
    page.goto(f"{running_stack.url}{batch.links.page}")
    page.locator(f"#open-{sent[2]}").click()
    place = page.locator("#neighbours .number")
    expect(place).to_be_visible()
    expect(place).to_contain_text("1 of 3 ")
    expect(page.locator("#neighbours a").first).to_be_hidden()
    page.keyboard.press("k")
    expect(page.locator("#said")).to_have_text("This is the first film of the list.")
    page.keyboard.press("j")
    page.wait_for_url(f"**/jobs/{sent[1]}")
    page.get_by_role("link", name="Next film").click()
    page.wait_for_url(f"**/jobs/{sent[0]}")
    expect(place).to_contain_text("3 of 3 ")
    expect(page.get_by_role("link", name="Previous film")).to_be_visible()
    page.keyboard.press("k")
    page.wait_for_url(f"**/jobs/{sent[1]}")
    page.get_by_role("link", name="Worklist", exact=True).click()
    page.wait_for_url(f"**{batch.links.page}")
    expect(page.locator(f"#open-{sent[1]}")).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator(f"#open-{sent[0]}")).to_be_focused()


def test_the_last_film_of_a_page_leads_on_to_the_older_ones(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """And a page of the list is not told as all of it."""
    made = running_stack.http.post("/api/v1/batches", headers=running_stack.headers)
    batch = wire.Batch.model_validate_json(made.content)
    sent = [running_stack.submit(film_of(f"on-{number}"), batch=batch.id).id for number in range(PAGE_ROWS + 1)]
    for job_id in sent:
        running_stack.done(job_id)  # a click on a row that is replaced at that moment is lost
    page = open_page()
    page.goto(f"{running_stack.url}{batch.links.page}")
    page.locator(f"#open-{sent[1]}").click()
    place = page.locator("#neighbours .number")
    expect(place).to_have_text(f"{PAGE_ROWS} of {PAGE_ROWS} on this page")
    expect(page.get_by_role("link", name="Older films")).to_be_visible()
    page.keyboard.press("j")
    page.wait_for_url("**cursor=**")
    page.locator(f"#open-{sent[0]}").click()
    expect(place).to_have_text("1 of 1 on this page")
    page.keyboard.press("k")
    expect(page.locator("#said")).to_have_text("This is the first film of this page.")
    page.keyboard.press("j")
    expect(page.locator("#said")).to_have_text("This is the last film of the list.")


def test_a_film_of_no_list_has_no_neighbours(open_page: Callable[..., Page], running_stack: Service) -> None:
    """Opened by its address, say, while the list showed others."""
    job = running_stack.submit(film_of("alone"))
    page = open_page()
    page.goto(f"{running_stack.url}/?status=failed")
    page.goto(f"{running_stack.url}/jobs/{job.id}")
    expect(page.locator("#findings")).to_be_visible()
    expect(page.locator("#neighbours")).to_be_hidden()
