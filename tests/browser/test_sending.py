"""Many films on their way at once, and trouble on it: nothing is lost out of sight."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page, Route, expect

from tests.browser.test_upload import ACCEPTED, REFUSED, UNSENT, send
from tests.rig import film_of
from tests.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.browser


def films(*names: str) -> list[dict[str, str | bytes]]:
    """Files of these names, each a film of its own."""
    return [{"name": f"{name}.png", "mimeType": "image/png", "buffer": film_of(name)} for name in names]


def test_what_was_not_sent_or_refused_is_counted_and_comes_first(open_page: Callable[..., Page]) -> None:
    """Of five films one is no film and two meet a fault of the service; all that can be are retried at once."""
    page = open_page(allowed=(415, 500))
    faulty = {"left": 2}

    def be_faulty(route: Route) -> None:
        if faulty["left"] > 0 and b"these are notes" not in (route.request.post_data_buffer or b""):
            faulty["left"] -= 1
            route.fulfill(status=500, content_type="application/problem+json", body='{"detail": "A fault."}')
        else:
            route.continue_()

    page.route("**/api/v1/jobs?*", be_faulty)
    notes = {"name": "notes.png", "mimeType": "image/png", "buffer": b"these are notes"}
    page.locator("#files").set_input_files([*films("sum-1", "sum-2", "sum-3", "sum-4"), notes])
    expect(page.locator("#sending-sum")).to_have_text("2 sent, 2 not sent, 1 refused")
    states = page.eval_on_selector_all(".upload", "items => items.map(item => item.dataset.state)")
    assert sorted(states[:3]) == ["refused", "unsent", "unsent"]
    page.get_by_role("button", name="Retry all").click()
    expect(page.locator("#sending-sum")).to_have_text("4 sent, 1 refused")
    expect(page.locator(REFUSED)).to_be_visible()


def test_a_film_is_sent_again_by_itself_after_a_lost_connection(open_page: Callable[..., Page]) -> None:
    """Twice no answer comes; the third time one does, under the same key, and nobody pressed anything."""
    page = open_page(allowed=("net::ERR_CONNECTION_RESET",))
    keys: list[str] = []

    def lose(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.abort("connectionreset") if len(keys) < 3 else route.continue_()

    page.route("**/api/v1/jobs?*", lose)
    send(page, films("lost")[0])
    expect(page.locator(ACCEPTED)).to_be_visible()
    assert (len(keys), len(set(keys))) == (3, 1)


def test_a_film_that_was_damaged_on_its_way_can_be_sent_again(open_page: Callable[..., Page]) -> None:
    """It goes as it is, with its digest; where another film arrives it is refused, and the line offers a retry."""
    page = open_page(allowed=(422,))
    sent: list[bytes | None] = []

    def damage(route: Route) -> None:
        sent.append(route.request.post_data_buffer)
        route.continue_(post_data=film_of("other")) if len(sent) == 1 else route.continue_()

    page.route("**/api/v1/jobs?*", damage)
    send(page, films("damaged")[0])
    expect(page.locator(UNSENT)).to_contain_text("digest_mismatch")
    page.locator(UNSENT).get_by_role("button", name="Retry").click()
    expect(page.locator(ACCEPTED)).to_be_visible()
    assert sent == [film_of("damaged")] * 2


@pytest.mark.parametrize(("status", "code"), [(408, "too_slow"), (400, "malformed_request")])
def test_a_film_that_came_too_slowly_or_not_whole_can_be_sent_again(
    open_page: Callable[..., Page], status: int, code: str
) -> None:
    """As the sentence of both refusals says."""
    page = open_page(allowed=(status,))
    refused: list[Route] = []

    def refuse_once(route: Route) -> None:
        refused.append(route)
        told = json.dumps({"code": code, "detail": "Send it again."})
        if len(refused) == 1:
            route.fulfill(status=status, content_type="application/problem+json", body=told)
        else:
            route.continue_()

    page.route("**/api/v1/jobs?*", refuse_once)
    send(page, films(code)[0])
    page.locator(UNSENT).get_by_role("button", name="Retry").click()
    expect(page.locator(ACCEPTED)).to_be_visible()


def test_leaving_while_a_film_is_on_its_way_asks_first(open_page: Callable[..., Page]) -> None:
    """The browser's own question comes while the answer is awaited, and no longer once it is there."""
    page = open_page()
    held: list[Route] = []
    page.route("**/api/v1/jobs?*", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks it
    page.locator("#intake-title").click()  # a page that nobody touched may not ask
    send(page, films("leave")[0])
    wait_until(lambda: page.wait_for_timeout(20) or held, "the film to be on its way")
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.evaluate("location.assign('/model')")
    wait_until(lambda: page.wait_for_timeout(20) or asked, "the question")
    assert asked == ["beforeunload"]
    held[0].continue_()
    expect(page.locator(ACCEPTED)).to_be_visible()
    page.goto(page.url + "model")
    assert asked == ["beforeunload"]


def test_a_film_that_met_the_end_of_the_session_can_be_sent_in_the_next(open_page: Callable[..., Page]) -> None:
    """The line says what to do in plain words; the retry carries the token that the page has by then."""
    page = open_page(allowed=(401,))
    tokens: list[str] = []

    def end_the_session(route: Route) -> None:
        tokens.append(route.request.headers["x-csrftoken"])
        if len(tokens) == 1:
            told = '{"code": "not_allowed", "detail": "Send `Authorization: Bearer <key>`."}'
            route.fulfill(status=401, content_type="application/problem+json", body=told)
        else:
            route.continue_()

    page.route("**/api/v1/jobs?*", end_the_session)
    page.evaluate("document.querySelector('meta[name=csrf-token]').content = 'of the session that ended'")
    send(page, films("session")[0])
    expect(page.locator(UNSENT)).to_contain_text("This session has ended. Open a new one-time link")
    page.locator(UNSENT).get_by_role("button", name="Retry").click()
    expect(page.locator(ACCEPTED)).to_be_visible()
    assert tokens[1] != tokens[0]


def test_the_line_of_a_sent_film_tells_its_verdict(open_page: Callable[..., Page]) -> None:
    """Also where the list shows other films only."""
    page = open_page()
    page.goto(page.url + "?status=failed")
    send(page, films("line")[0])
    expect(page.locator(ACCEPTED)).to_contain_text("Verdict")
    expect(page.locator(ACCEPTED)).to_contain_text("Film ")


def test_a_film_that_takes_long_is_waited_for_again(open_page: Callable[..., Page]) -> None:
    """Where no row would tell its end: the answer that its time was over is not the last word."""
    page = open_page()
    page.goto(page.url + "?status=failed")
    asked: list[str] = []

    def be_early(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(json={"done": False}) if len(asked) == 1 else route.continue_()

    page.route(re.compile("/api/v1/jobs/[^/]*$"), be_early)
    send(page, films("long")[0])
    expect(page.locator(ACCEPTED)).to_contain_text("Verdict")
    assert len(set(asked)) == 1


def test_a_sent_film_is_waited_for_again_after_a_failed_wait(open_page: Callable[..., Page]) -> None:
    """Too many requests wait, or the connection is lost: the lines of this film and the next are told all the same."""
    page = open_page(allowed=(503, "net::ERR_CONNECTION_RESET"))
    page.goto(page.url + "?status=failed")  # no row would tell their ends
    asked: list[str] = []

    def fail_twice(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            route.fulfill(status=503, body="{}")
        elif len(asked) == 2:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route(re.compile("/api/v1/jobs/[^/]*$"), fail_twice)
    page.locator("#files").set_input_files(films("again-1", "again-2"))
    expect(page.locator(ACCEPTED)).to_have_count(2)
    expect(page.locator(ACCEPTED).first).to_contain_text("Verdict")
    expect(page.locator(ACCEPTED).last).to_contain_text("Verdict")


def test_a_file_that_can_no_longer_be_read_is_said_to_be_so(open_page: Callable[..., Page], tmp_path: Path) -> None:
    """It was moved or written to after it was chosen: no connection was lost, and no retry would help."""
    page = open_page()
    held: list[Route] = []
    page.route("**/api/v1/jobs?*", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks it
    paths = [tmp_path / f"gone-{number}.png" for number in range(4)]
    for path in paths:
        path.write_bytes(film_of(path.name))
    page.locator("#files").set_input_files(paths)
    wait_until(lambda: page.wait_for_timeout(20) or len(held) == 3, "three films to be on their way")
    paths[3].unlink()
    for route in held:
        route.continue_()
    expect(page.locator(REFUSED)).to_contain_text("The file can no longer be read; choose it again.")
    expect(page.locator(REFUSED).get_by_role("button")).to_have_text(["Dismiss"])
    expect(page.locator("#sending-sum")).to_have_text("3 sent, 1 refused")


def test_refused_films_are_dismissed_together(open_page: Callable[..., Page]) -> None:
    """What was sent stays; for a single one its own button is enough."""
    page = open_page(allowed=(415,))
    together = page.get_by_role("button", name="Dismiss refused")
    notes = {"name": "notes.png", "mimeType": "image/png", "buffer": b"these are notes"}
    page.locator("#files").set_input_files([notes, *films("kept")])
    expect(page.locator("#sending-sum")).to_have_text("1 sent, 1 refused")
    expect(together).to_be_hidden()
    send(page, notes)
    together.click()
    expect(page.locator(REFUSED)).to_have_count(0)
    expect(page.locator(ACCEPTED)).to_have_count(1)


def test_a_film_that_was_answered_before_says_so_at_once(
    open_page: Callable[..., Page], running_stack: Service
) -> None:
    """Its line does not wait for the ends of the films that were sent before it."""
    running_stack.done(running_stack.submit(film_of("again")).id)
    page = open_page()
    page.evaluate("document.addEventListener('plainfilm:accepted', event => event.stopImmediatePropagation(), true)")
    send(page, films("again")[0])
    expect(page.locator(ACCEPTED)).to_contain_text("Same film as before. Film ")
    expect(page.locator(ACCEPTED)).to_contain_text("Verdict")


def test_the_list_of_what_was_sent_can_be_kept(open_page: Callable[..., Page], running_stack: Service) -> None:
    """File name, job, page, what it was told and the digest; a name like a formula is kept from being one."""
    page = open_page(allowed=(415,))
    notes = {"name": "notes.png", "mimeType": "image/png", "buffer": b"these are notes"}
    page.locator("#files").set_input_files([*films('=1+"1"', "second"), notes])
    expect(page.locator(ACCEPTED)).to_have_count(2)
    expect(page.locator(ACCEPTED).first).to_contain_text("Verdict")
    expect(page.locator(ACCEPTED).last).to_contain_text("Verdict")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download list").click()
    assert download.value.suggested_filename == "plainfilm-list.csv"
    lines = list(csv.DictReader(download.value.path().read_text("utf-8-sig").splitlines()))
    assert [line["file"] for line in lines] == ['\'=1+"1".png', "second.png", "notes.png"]
    assert [line["state"] for line in lines] == ["accepted", "accepted", "refused"]
    for line, sent in zip(lines[:2], films('=1+"1"', "second"), strict=True):
        assert line["upload_sha256"] == hashlib.sha256(bytes(sent["buffer"])).hexdigest()
        assert line["page"] == f"{running_stack.url}/jobs/{line['job']}"
        assert "Verdict" in line["told"]
    assert lines[2]["job"] == ""
