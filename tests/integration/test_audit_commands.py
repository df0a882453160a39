"""`plainfilm audit show` and `plainfilm replay` beside a running service, as an operator runs them."""

from __future__ import annotations

import json

import pytest

from tests.factories import make_pixels, make_png
from tests.service import Service

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_what_happened_to_a_job_is_printed_and_its_answer_computed_anew(running_stack: Service) -> None:
    """Lines or JSON, whose last event is the result's receipt; the same answer by the model that ships."""
    film = make_png(pixels=make_pixels(height_px=256, width_px=256, seed=66))
    job = running_stack.done(running_stack.submit(film).id)
    assert job.result is not None
    assert job.result.receipt is not None
    shown = running_stack.run("audit", "show", job.id)
    assert shown.returncode == 0, shown.stderr
    heads = [line.split()[1] for line in shown.stdout.splitlines() if not line.startswith(" ")]
    assert heads == ["accepted", "claimed", "succeeded"]
    assert "role=admin" in shown.stdout
    assert f"event {job.result.receipt.seq} {job.result.receipt.hash[:12]}…" in shown.stdout
    told = json.loads(running_stack.run("audit", "show", job.id, "--json").stdout)
    assert told["events"][-1]["hash"] == job.result.receipt.hash
    replayed = running_stack.run("replay", job.id)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert replayed.stdout.splitlines()[-1] == "the same answer"
    assert job.result.verdict in replayed.stdout


def test_the_trail_of_a_job_that_never_was_is_one_line(running_stack: Service) -> None:
    """Exit 1, and nothing on the output."""
    shown = running_stack.run("audit", "show", "01997000-0000-7000-8000-000000000000")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == "plainfilm: There is no job with this id.\n"
