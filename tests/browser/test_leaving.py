"""The page is left while films are on its list: nothing of it is lost without a question, nor told to the service."""

from __future__ import annotations

import csv
from collections.abc import Callable

import pytest
from playwright.sync_api import Dialog, Page, Request, expect

from tests.browser.test_cancelling import CANCELLED, hold_requests
from tests.browser.test_sending import films
from tests.browser.test_upload import ACCEPTED, REFUSED, UNSENT, send
from tests.service import Service, frozen_worker
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

NAMES = ".upload .upload-name"
NOTES = {"name": "notes of Ms Doe.png", "mimeType": "image/png", "buffer": b"these are notes"}
KEPT = "sessionStorage.getItem('plainfilm-sent')"


def answer_questions(page: Page, *, leave: bool) -> list[str]:
    """What the browser asks from now on; each is answered the same way."""
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept() if leave else dialog.dismiss()

    page.on("dialog", answer)
    return asked


def test_the_list_is_there_again_after_a_film_was_looked_at(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """By its line's own link and back: names, jobs, verdicts, refusals, the batch; the service learns no name."""
    page = open_page(allowed=(415,))
    told: list[bytes] = []

    def note(request: Request) -> None:
        told.append(f"{request.url} {request.headers}".encode() + (request.post_data_buffer or b""))

    page.on("request", note)
    page.locator("#files").set_input_files([*films("Doe one", "Doe two"), NOTES])
    expect(page.locator("#sending-sum")).to_have_text("2 sent, 1 refused")
    expect(page.locator(ACCEPTED).first).to_contain_text("Verdict")
    expect(page.locator(ACCEPTED).last).to_contain_text("Verdict")
    links = page.eval_on_selector_all(ACCEPTED, "links => links.map(link => link.href)")
    page.locator(ACCEPTED).first.click()
    expect(page.locator("#findings")).to_be_visible()
    page.get_by_role("link", name="Worklist", exact=True).click()
    expect(page.locator("#sending-sum")).to_have_text("2 sent, 1 refused")
    assert page.locator(NAMES).all_inner_texts() == ["notes of Ms Doe.png", "Doe one.png", "Doe two.png"]
    assert page.eval_on_selector_all(ACCEPTED, "links => links.map(link => link.href)") == links
    expect(page.locator(ACCEPTED).first).to_contain_text("Verdict")
    expect(page.locator(REFUSED).get_by_role("link", name="unsupported_format")).to_be_visible()
    expect(page.locator("#batch-link")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download list").click()
    lines = list(csv.DictReader(download.value.path().read_text("utf-8-sig").splitlines()))
    assert {line["file"]: line["page"] for line in lines if line["job"]} == {
        "Doe one.png": links[0],
        "Doe two.png": links[1],
    }
    assert all(len(line["upload_sha256"]) == 64 for line in lines if line["job"])
    assert not [request for request in told if b"Doe" in request]
    page.get_by_role("button", name="Dismiss sent").click()
    page.get_by_role("button", name="Dismiss: notes of Ms Doe.png").click()
    expect(page.locator("#sending")).to_be_hidden()
    page.reload()
    expect(page.locator("#list-title")).to_be_attached()
    assert not page.evaluate(KEPT)
    expect(page.locator("#sending")).to_be_hidden()


def test_a_line_that_comes_back_is_told_its_verdict(open_page: Callable[..., Page], running_stack: Service) -> None:
    """The page was left before there was one, and shows another list now."""
    page = open_page()
    with frozen_worker(running_stack):
        send(page, films("later")[0])
        expect(page.locator(ACCEPTED)).to_have_text("Accepted: open the film")
        page.goto(f"{running_stack.url}/?status=failed")
        expect(page.locator(ACCEPTED)).to_have_text("Accepted: open the film")
    expect(page.locator(ACCEPTED)).to_contain_text("Verdict")


def test_leaving_films_that_were_not_sent_asks_first(open_page: Callable[..., Page], running_stack: Service) -> None:
    """A film that waits for its retry is a file that would have to be found again; who leaves finds its name."""
    page = open_page(allowed=(500,))
    page.route("**/api/v1/jobs?*", lambda route: route.fulfill(status=500, body="{}"))
    page.locator("#intake-title").click()  # a page that nobody touched may not ask
    send(page, films("unsent")[0])
    expect(page.locator(UNSENT)).to_be_visible()
    asked = answer_questions(page, leave=True)
    page.evaluate("location.assign('/model')")
    wait_until(lambda: page.wait_for_timeout(20) or asked, "the question")
    page.wait_for_url("**/model")
    page.goto(running_stack.url)
    expect(page.locator(CANCELLED)).to_contain_text("You left the page before it was accepted.")
    expect(page.locator(NAMES)).to_have_text("unsent.png")
    assert asked == ["beforeunload"]


def test_films_that_still_waited_are_told_as_not_sent(open_page: Callable[..., Page], running_stack: Service) -> None:
    """Of four films three were on their way when the page was left; whether these arrived it does not know."""
    page = open_page()
    held = hold_requests(page)
    page.locator("#files").set_input_files(films("go-1", "go-2", "go-3", "stay"))
    wait_until(lambda: page.wait_for_timeout(20) or len(held) == 3, "three films to be on their way")
    answer_questions(page, leave=True)
    page.goto(f"{running_stack.url}/model")
    page.goto(running_stack.url)
    expect(page.locator("#sending-sum")).to_have_text("4 cancelled")
    line = page.locator(CANCELLED, has_text="stay.png")
    expect(line).to_contain_text("Not sent: you left the page first. Choose the file again.")
    expect(page.locator(CANCELLED, has_text="go-1")).to_contain_text("If it arrived anyway")


def test_another_session_does_not_see_the_list(open_page: Callable[..., Page], running_stack: Service) -> None:
    """Who opens a link of their own in the same tab: names of files may be names of people."""
    page = open_page()
    send(page, films("of another")[0])
    expect(page.locator(ACCEPTED)).to_contain_text("Verdict")
    page.goto(f"{running_stack.url}/model")
    assert "of another" in page.evaluate(KEPT)
    page.goto(running_stack.login_url())
    expect(page.locator("#list-title")).to_be_attached()
    expect(page.locator("#sending")).to_be_hidden()
    assert not page.evaluate(KEPT)


def test_the_end_of_a_session_takes_its_list_along(open_page: Callable[..., Page]) -> None:
    """Who comes to this machine next finds no names in the tab; an answer of trouble is no end."""
    page = open_page(allowed=(401, 404))
    send(page, films("of the last one")[0])
    expect(page.locator(ACCEPTED)).to_contain_text("Verdict")
    page.goto(f"{page.url.rstrip('/')}/nowhere")
    assert "of the last one" in page.evaluate(KEPT)
    page.get_by_role("button", name="End this session").click()
    expect(page.locator("#no-session")).to_be_visible()
    wait_until(lambda: page.evaluate("sessionStorage.length") == 0, "the tab to forget")
