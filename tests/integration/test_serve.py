"""The web server as one process: how it ends, by a signal, by itself, and where it cannot start."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from shared.version import CODE_VERSION
from tests.waiting import wait_until
from tests.web_alone import WebAlone

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_in_order(tmp_path: Path, number: int) -> None:
    """Status 0; its log begins with where it listens; its decoder goes with it, which is all that it had started."""
    web = WebAlone(tmp_path, "tests.patient")
    web.wait()
    (decoder,) = psutil.Process(web.process.pid).children()
    assert "decoder_process" in " ".join(decoder.cmdline())
    status, said = web.end(number)
    assert status == 0
    lines = [json.loads(line) for line in said.splitlines()]
    assert {line["level"] for line in lines} == {"info"}  # its requests
    assert (lines[0]["event"], lines[0]["listens_at"]) == ("web.started", f"127.0.0.1:{web.port}")
    assert lines[0]["version"] == CODE_VERSION
    decoder.wait(60)


def test_it_outlives_who_started_it(tmp_path: Path) -> None:
    """As it must that is started by hand and left."""
    web = WebAlone(tmp_path, "tests.patient", "nohup", "setsid", "sh", "-c", '"$0" "$@" & wait')
    web.wait()
    (child,) = psutil.Process(web.process.pid).children()
    assert web.end(signal.SIGKILL)[0] == -signal.SIGKILL
    wait_until(lambda: child.ppid() != web.process.pid, "somebody else to be its parent")
    time.sleep(2.5)  # it looks at its parent each second, if it does
    assert web.is_alive()
    child.send_signal(signal.SIGHUP)  # it was started so that this does nothing
    time.sleep(1.5)
    assert web.is_alive()
    child.terminate()
    child.wait(30)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU])
def test_what_is_said_to_gunicorns_watcher_does_nothing(tmp_path: Path, number: int) -> None:
    """There are no processes of which there could be more or less."""
    web = WebAlone(tmp_path, "tests.patient")
    web.wait()
    web.process.send_signal(number)
    time.sleep(0.5)
    assert web.is_alive()
    assert web.end(signal.SIGTERM)[0] == 0


def test_a_start_that_hangs_ends_it(tmp_path: Path) -> None:
    """Its port listens already, so clients would wait for ever."""
    status, said = WebAlone(tmp_path, "tests.stuck_start").ended()
    assert status == 1
    assert "Timeout (0:00:02)!" in said


def test_a_loop_that_hangs_ends_it(tmp_path: Path) -> None:
    """And its log says where it hung."""
    status, said = WebAlone(tmp_path, "tests.stuck").ended()
    assert status == 1
    assert "Timeout (0:00:08)!" in said
    assert "stuck.py" in said


def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    """One line, no traceback."""
    status, said = WebAlone(tmp_path, "tests.patient", PLAINFILM_REDIS_URL=None).ended()
    assert status == 1
    assert said.startswith("plainfilm: No broker is known: set PLAINFILM_REDIS_URL")
    assert said.count("\n") == 1


def test_several_are_watched_by_gunicorn(tmp_path: Path) -> None:
    """Two, and who watches them."""
    web = WebAlone(tmp_path, "tests.patient", PLAINFILM_WEB_WORKERS="2")
    web.wait()
    wait_until(lambda: len(psutil.Process(web.process.pid).children()) == 2, "the second")  # the first answers already
    assert web.end(signal.SIGTERM)[0] == 0
