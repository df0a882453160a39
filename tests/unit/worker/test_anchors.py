"""Heads of the audit chain in the log: once for each that has moved, by one worker at a time."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from shared.db import audit_anchors
from shared.db.engine import Database, make_engine
from shared.wiring import Resources
from tests.fakes import FixedClock
from tests.jobs import make_job
from tests.waiting import wait_until
from worker import loops
from worker.anchors import EVERY_S, log_anchors
from worker.runtime import Runtime


def test_a_head_is_logged_once(resources: Resources) -> None:
    """And again when its chain has grown; the line is the anchor that a check accepts."""
    make_job(resources.database)
    with capture_logs() as logged:
        heads = log_anchors(resources, "w1")
        heads = log_anchors(resources, "w1", heads)
        make_job(resources.database)
        log_anchors(resources, "w1", heads)
    lines = [line for line in logged if line["event"] == "audit.anchored"]
    assert [line["seq"] for line in lines] == [1, 2]
    with resources.database.read() as session:
        (head,) = audit_anchors.read_heads(session)
    assert (lines[1]["stream"], lines[1]["hash"]) == (head.stream, head.hash)


def test_one_worker_logs_for_all(resources: Resources, sqlite_url: str, clock: FixedClock) -> None:
    """Until its time is over, in which it may have died."""
    with Database(make_engine(sqlite_url), clock) as database, capture_logs() as logged:
        make_job(database)
        timed = replace(resources, database=database)
        heads = log_anchors(timed, "w1")
        assert log_anchors(timed, "w2") == frozenset()
        clock.advance(EVERY_S + 1)
        assert len(logged) == 1
        assert log_anchors(timed, "w2") == heads
    assert [line["event"] for line in logged] == ["audit.anchored", "audit.anchored"]


def test_a_worker_logs_them_by_itself(runtime: Runtime, resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the loop that deletes."""
    make_job(resources.database)
    monkeypatch.setattr(loops, "FIRST_PURGE_S", 0.01)
    thread = threading.Thread(target=loops.purge_loop, args=(runtime,))
    with capture_logs() as logged:
        thread.start()
        wait_until(lambda: any(line["event"] == "audit.anchored" for line in logged), "the anchor")
    runtime.shutdown.finish()
    thread.join(60)
