"""Folders of films, chosen or dropped; what is no film is left out and counted, and a ZIP is not sent in vain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import AXE_RULES, DESK, PHONE
from tests.browser.test_upload import ACCEPTED, REFUSED
from tests.rig import film_of

pytestmark = pytest.mark.browser

NAMES = ".upload .upload-name"
LEFT_OUT = "5 files were skipped: they are not films."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two films, one in a folder of it; what begins as a DICOM without a suffix, a ZIP, and five other files."""
    inner = tmp_path / "disc" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "disc" / "one.png").write_bytes(film_of(f"{tmp_path} one"))
    (inner / "two.PNG").write_bytes(film_of(f"{tmp_path} two"))
    (inner / "00000001").write_bytes(
        bytes(128) + b"DICM" + bytes(64)
    )  # what begins as one is for the service to refuse
    (inner / "more.zip").write_bytes(b"PK\3\4")
    for name in ("notes.txt", "README", ".DS_Store", "._one.png", "DICOMDIR"):
        (tmp_path / "disc" / name).write_bytes(bytes(128) + b"DICM" if name == "DICOMDIR" else b"no film")
    return tmp_path / "disc"


def expect_sorted(page: Page) -> None:
    """Each file of the folder went where it belongs."""
    expect(page.locator("#sending-sum")).to_have_text("2 sent, 2 refused")
    expect(page.locator("#skipped")).to_have_text(LEFT_OUT)
    expect(page.locator(ACCEPTED)).to_have_count(2)
    assert sorted(page.locator(NAMES).all_inner_texts()) == [
        "disc/inner/00000001",
        "disc/inner/more.zip",
        "disc/inner/two.PNG",
        "disc/one.png",
    ]
    expect(page.locator(REFUSED, has_text="more.zip")).to_contain_text("plainfilm classify, which opens ZIPs")
    expect(page.locator(REFUSED, has_text="00000001")).not_to_contain_text("ZIP")


def drop(page: Page, folder: Path) -> None:
    """As the browser hands it over from the desktop, entries and all; a page cannot make up such an event."""
    devtools = page.context.new_cdp_session(page)
    dragged = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}

    def drag(kind: str) -> None:
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 500, "data": dragged})

    for kind in ("dragEnter", "dragOver"):
        drag(kind)
    expect(page.locator("#drop")).to_be_visible()
    for kind in ("dragOver", "dragOver", "drop"):  # the first finds that it is over another element by now
        drag(kind)


@pytest.mark.parametrize(("viewport", "theme"), [(DESK, "dark"), (PHONE, "light")], ids=["desk", "phone"])
def test_a_chosen_folder_is_gone_through(
    open_page: Callable[..., Page], folder: Path, viewport: dict[str, int], theme: str
) -> None:
    """With the folders in it: films are sent under the names of their paths, the rest is counted."""
    page = open_page(viewport, theme, allowed=(415, 422))
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(folder)
    expect_sorted(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    found = Axe().run(page, options=AXE_RULES)
    assert found.violations_count == 0, found.generate_report()


def test_a_dropped_folder_is_gone_through(open_page: Callable[..., Page], folder: Path) -> None:
    """Like a chosen one."""
    page = open_page(allowed=(415, 422))
    drop(page, folder)
    expect_sorted(page)
    expect(page.locator("#drop")).to_be_hidden()


def test_a_folder_without_films_says_so(open_page: Callable[..., Page], tmp_path: Path) -> None:
    """Nothing is sent, and the page does not look as if nothing had been chosen."""
    (tmp_path / "notes.txt").write_text("no film")
    page = open_page()
    page.locator("#folder-files").set_input_files(tmp_path)
    expect(page.locator("#skipped")).to_have_text("No film was found. 1 file was skipped: it is not a film.")
    expect(page.locator("#said")).to_contain_text("No film was found.")
    expect(page.locator(NAMES)).to_have_count(0)


def test_a_folder_of_many_files_is_read_to_its_end(open_page: Callable[..., Page], tmp_path: Path) -> None:
    """A browser hands a folder's names out by the hundred."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(250):
        (folder / f"{number}.txt").write_text("no film")
    page = open_page()
    drop(page, folder)
    expect(page.locator("#skipped")).to_have_text("No film was found. 250 files were skipped: they are not films.")


def test_a_zip_is_refused_before_it_is_sent(open_page: Callable[..., Page]) -> None:
    """With what to do instead; chosen by itself, too."""
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.locator("#files").set_input_files({"name": "films.ZIP", "mimeType": "application/zip", "buffer": b"PK"})
    expect(page.locator(REFUSED)).to_contain_text("unpack it and choose its folder")
    expect(page.locator(REFUSED).get_by_role("button", name="Retry")).to_have_count(0)
    assert asked == []
