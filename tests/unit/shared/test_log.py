"""Every line on stderr is one JSON object, ours or a library's."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator

import pytest
import structlog

from shared.log import QUIET_LOGGERS, bind_request, get_logger, set_up_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging is the process's own: put it back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in QUIET_LOGGERS}
    structlog.contextvars.clear_contextvars()  # a test before this one may have served a request
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(captured: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """What was written to stderr, a line each."""
    return [json.loads(line) for line in captured.readouterr().err.splitlines()]


def test_an_event_is_a_json_line_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """Event, level, logger, time in UTC, process and what was given."""
    set_up_logging("INFO", "web")
    get_logger("shared.x").info("job.claimed", job_id="j", n=3)
    (line,) = lines(capsys)
    assert {**line, "timestamp": ""} == {
        "event": "job.claimed", "job_id": "j", "n": 3, "level": "info", "logger": "shared.x", "process": "web",
        "timestamp": "",
    }  # fmt: skip
    assert str(line["timestamp"]).endswith("Z")


def test_a_librarys_record_has_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    """What Celery or gunicorn logs can be read by the same program."""
    set_up_logging("INFO", "worker")
    logging.getLogger("celery").warning("lost %s", "it")
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["process"]) == ("lost it", "warning", "worker")


def test_what_our_events_say_no_library_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    """Celery would tell of each ring twice; what it warns of is written."""
    set_up_logging("INFO", "worker")
    for name in QUIET_LOGGERS:
        logging.getLogger(name).info("again")
        logging.getLogger(name).warning("news")
    assert [line["event"] for line in lines(capsys)] == ["news"] * len(QUIET_LOGGERS)


def test_less_than_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither ours nor a library's."""
    set_up_logging("WARNING", "web")
    get_logger("x").info("quiet")
    logging.getLogger("y").info("quiet")
    assert lines(capsys) == []


def test_a_request_marks_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Every later line carries the id, libraries' lines too."""
    set_up_logging("INFO", "web")
    bind_request("r-1")
    get_logger("x").info("a")
    logging.getLogger("y").info("b")
    assert [line["request_id"] for line in lines(capsys)] == ["r-1", "r-1"]


def test_a_trace_marks_the_lines_of_its_request_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A connection's next request is of none unless it says so."""
    set_up_logging("INFO", "web")
    for number, trace_id in enumerate(("t-1", None, "t-2")):
        bind_request(f"r-{number}", trace_id)
        get_logger("x").info("a")
    found = [(line["request_id"], line.get("trace_id")) for line in lines(capsys)]
    assert found == [("r-0", "t-1"), ("r-1", None), ("r-2", "t-2")]


def test_a_thread_of_its_own_still_names_its_process(capsys: pytest.CaptureFixture[str]) -> None:
    """The worker's poll and lease threads start without a context."""
    set_up_logging("INFO", "worker")
    thread = threading.Thread(target=lambda: get_logger("x").info("from a thread"))
    thread.start()
    thread.join()
    assert [line["process"] for line in lines(capsys)] == ["worker"]


def test_an_exception_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A trace is a field, not twenty lines."""
    set_up_logging("INFO", "web")
    try:
        int("by nothing")
    except ValueError:
        get_logger("x").exception("broke")
    (line,) = lines(capsys)
    assert "by nothing" in str(line["exception"])


def test_setting_up_twice_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """The worker's command and its child both set up."""
    set_up_logging("INFO", "worker")
    set_up_logging("INFO", "worker")
    get_logger("x").info("once")
    assert len(lines(capsys)) == 1
