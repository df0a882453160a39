"""The web server as one process: how it ends, by a signal, by itself, and where it cannot start."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest

from tests.web_alone import WebAlone

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order(tmp_path: Path, number: int) -> None:
    """Status 0 and nothing said of it; its decoder goes with it, which is all that it had started."""
    web = WebAlone(tmp_path, "tests.hasty")
    web.wait()
    (decoder,) = psutil.Process(web.process.pid).children()
    assert "decoder_process" in " ".join(decoder.cmdline())
    status, said = web.end(number)
    assert status == 0
    assert {json.loads(line)["level"] for line in said.splitlines()} == {"info"}  # its requests
    decoder.wait(10)


def test_a_loop_that_hangs_ends_it(tmp_path: Path) -> None:
    """And its log says where it hung."""
    status, said = WebAlone(tmp_path, "tests.stuck").ended()
    assert status == 1
    assert "Timeout (0:00:02)!" in said
    assert "stuck.py" in said


def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    """One line, no traceback."""
    status, said = WebAlone(tmp_path, "tests.hasty", PLAINFILM_REDIS_URL=None).ended()
    assert status == 1
    assert said.startswith("plainfilm: No broker is known: set PLAINFILM_REDIS_URL")
    assert said.count("\n") == 1


def test_several_are_watched_by_gunicorn(tmp_path: Path) -> None:
    """Two, and who watches them."""
    web = WebAlone(tmp_path, "tests.hasty", PLAINFILM_WEB_WORKERS="2")
    web.wait()
    assert len(psutil.Process(web.process.pid).children()) == 2
    assert web.end(signal.SIGTERM)[0] == 0
