"""Films that are deleted while they are on the list of what was sent: it says so, and leads to none of them."""

from __future__ import annotations

import csv
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_sending import films
from tests.browser.test_upload import ACCEPTED
from tests.service import Service, frozen_worker

pytestmark = pytest.mark.browser

LINES = ".upload[data-state=accepted]"


def send_two(page: Page) -> tuple[Locator, str]:
    """Send two films; of the first the line, and the job."""
    page.locator("#files").set_input_files(films("goes", "stays"))
    expect(page.locator(ACCEPTED)).to_have_count(2)
    address = page.locator(ACCEPTED).first.get_attribute("href") or ""
    return page.locator(LINES, has_text="goes.png"), address.rpartition("/")[2]


def delete(service: Service, job_id: str) -> None:
    """By the API, as another tab or program does."""
    service.http.delete(f"/api/v1/jobs/{job_id}", headers=service.headers).raise_for_status()


def expect_deleted(page: Page, line: Locator) -> None:
    """The other film keeps its link."""
    expect(line).to_contain_text("Deleted")
    expect(line.get_by_role("link")).to_have_count(0)
    expect(line.get_by_role("button")).to_have_text(["Dismiss"])
    expect(page.locator(LINES, has_text="stays.png").get_by_role("link")).to_have_count(1)


@pytest.mark.parametrize("query", ["", "?status=failed"], ids=["in the list", "in no row"])
def test_a_film_that_was_deleted_is_told_in_the_line_of_who_sent_it(
    open_page: Callable[..., Page], running_stack: Service, query: str
) -> None:
    """At once where its row goes, else when the tab is looked at again; and once more after a return to the page."""
    page = open_page()
    page.goto(running_stack.url + query)
    line, job_id = send_two(page)
    expect(page.locator(ACCEPTED).first).to_contain_text("Verdict")
    expect(page.locator(ACCEPTED).last).to_contain_text("Verdict")
    if not query:
        expect(page.locator(f"#job-{job_id}")).to_be_visible()
    delete(running_stack, job_id)
    if query:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect_deleted(page, line)
    page.goto(f"{running_stack.url}/model")
    page.goto(running_stack.url)
    expect_deleted(page, line)
    expect(page.locator("#sending-sum")).to_have_text("2 sent")


def test_a_film_that_is_deleted_on_its_page_is_told_in_the_list(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """By the way that a reader goes; the list that is downloaded keeps the job's id and leads nowhere."""
    page = open_page()
    line, job_id = send_two(page)
    expect(page.locator(ACCEPTED).first).to_contain_text("Verdict")
    expect(page.locator(ACCEPTED).last).to_contain_text("Verdict")
    page.locator(ACCEPTED).first.click()
    expect(page.locator("#viewer[data-heatmap-opacity='']")).to_have_count(0)  # pictures asked for later are 410
    page.wait_for_load_state("networkidle")
    page.locator(".deleting summary").click()
    page.get_by_role("button", name="Delete for good").click()
    expect_deleted(page, line)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download list").click()
    lines = list(csv.DictReader(download.value.path().read_text("utf-8-sig").splitlines()))
    assert [(line["job"] == job_id, line["told"] == "Deleted", bool(line["page"])) for line in lines] == [
        (True, True, False),
        (False, False, True),
    ]


def test_a_film_that_is_deleted_while_it_waits_is_told(open_page: Callable[..., Page], running_stack: Service) -> None:
    """Where no row shows it: the question for its end is answered by 410."""
    page = open_page(allowed=(410,))
    page.goto(f"{running_stack.url}/?status=failed")
    with frozen_worker(running_stack):
        line, job_id = send_two(page)
        delete(running_stack, job_id)
        expect_deleted(page, line)
