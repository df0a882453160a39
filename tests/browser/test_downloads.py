"""What a film's page offers to keep: only what is there, each under a name that tells it from the others."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.rig import film_of
from tests.service import Service, frozen_worker

pytestmark = pytest.mark.browser


def download(page: Page, name: str) -> tuple[str, bytes]:
    """What its link gives: the file's name and its bytes."""
    with page.expect_download() as download:
        page.get_by_role("link", name=name).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_film_map_and_result_can_be_downloaded(open_page: Callable[..., Page], film: str) -> None:
    """Four files, and the map's are those of the method that is shown."""
    page = open_page()
    page.goto(f"{film}?map=gradient")
    expect(page.locator("#heatmap[data-method=gradient]")).to_be_visible()
    expect(page.get_by_role("link", name="film (PNG)")).to_be_visible()
    expect(page.get_by_role("link", name="heatmap (PNG)")).to_have_count(0)
    expect(page.get_by_role("link", name="raw map (.npy)")).to_have_count(0)
    page.locator("#method").select_option("grad_cam")
    job_id = film.rsplit("/", 1)[1]
    name, data = download(page, "film (PNG)")
    assert (name, Image.open(io.BytesIO(data)).mode) == (f"{job_id[-8:]}-film.png", "L")
    name, data = download(page, "heatmap (PNG)")
    assert (name, Image.open(io.BytesIO(data)).mode) == (f"{job_id[-8:]}-grad_cam.png", "P")
    name, data = download(page, "raw map (.npy)")
    assert (name, np.load(io.BytesIO(data)).dtype) == (f"{job_id[-8:]}-grad_cam.npy", np.float32)
    name, data = download(page, "result (JSON)")
    assert (name, json.loads(data)["id"]) == (f"{job_id[-8:]}-result.json", job_id)


def test_a_film_that_waits_has_no_result_to_download(open_page: Callable[..., Page], running_stack: Service) -> None:
    """The film itself is there from the start."""
    page = open_page()
    with frozen_worker(running_stack):
        job = running_stack.submit(film_of("nothing to download yet"))
        page.goto(f"{running_stack.url}/jobs/{job.id}")
        expect(page.get_by_role("link", name="film (PNG)")).to_be_visible()
        expect(page.get_by_role("link", name="result (JSON)")).to_have_count(0)
    expect(page.get_by_role("link", name="result (JSON)")).to_be_visible()
