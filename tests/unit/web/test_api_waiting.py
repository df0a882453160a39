"""`Prefer: wait=N` and the stream of events, as a client sees them."""

from __future__ import annotations

import gc
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
from werkzeug.test import TestResponse

from shared.db import audit, jobs
from shared.db.engine import Database
from shared.domain import JobState
from shared.wiring import Resources
from tests.api import Api, make_key, make_tenant
from tests.api_answers import UNKNOWN, job_of, problem
from tests.jobs import claim, finish, make_job
from tests.waiting import wait_until
from web import events
from web.app import WAITING_ROOM
from web.submit import Upload
from web.waiting import LONGEST_WAIT_S, WaitingRoom

WAIT = {"Prefer": "wait=30"}


def finish_soon(resources: Resources, after_s: float = 0.3) -> None:
    """What a worker does, a moment later and once the film is there, its hint included."""
    time.sleep(after_s)
    held = wait_until(lambda: claim(resources.database), "a film to claim")
    for each in held:
        finish(resources.database, each)
    resources.notifier.publish([each.id for each in held])


def room_of(api: Api) -> WaitingRoom:
    """Where its requests wait."""
    found: WaitingRoom = api.app.extensions[WAITING_ROOM]
    return found


def test_a_submission_that_waits_is_answered_with_the_result(api: Api, small: Resources) -> None:
    """200, the finished job, and what was applied."""
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(finish_soon, small)
        response = api.submit(headers=WAIT)
        working.result()
    job = job_of(response, 200)
    assert (job.status, job.done) == ("succeeded", True)
    assert job.result is not None
    assert response.headers["Preference-Applied"] == "wait=30"
    assert response.headers["Location"] == job.links.self
    assert room_of(api).count() == 0


def test_a_film_is_let_go_of_while_its_client_waits(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte for each of many that wait would be the most of the process."""
    held: list[int] = []

    def look(*_: object) -> None:
        held.append(sum(type(thing) is Upload for thing in gc.get_objects()))

    monkeypatch.setattr(WaitingRoom, "wait_until_done", look)
    gc.collect()  # what other tests left
    look()
    api.submit(headers=WAIT)
    assert held[0] == held[1]


def test_a_submission_that_waits_in_vain_is_202(api: Api) -> None:
    """After its time, with the job as it is."""
    began = time.monotonic()
    response = api.submit(headers={"Prefer": "respond-async, wait=1"})
    assert 0.9 < time.monotonic() - began < 20
    assert job_of(response, 202).status == "queued"
    assert (response.headers["Preference-Applied"], response.headers["Retry-After"]) == ("wait=1", "1")


def test_a_question_that_waits_is_answered_at_the_end(
    api: Api, small: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GET likewise; a job that has ended is answered at once."""
    job_id = make_job(small.database)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(finish_soon, small)
        first = api.get(f"/api/v1/jobs/{job_id}", WAIT)
        working.result()
    monkeypatch.setattr(WaitingRoom, "wait_until_done", lambda *_: pytest.fail("it waits"))
    second = api.get(f"/api/v1/jobs/{job_id}", WAIT)
    assert job_of(first) == job_of(second)
    assert job_of(first).done
    assert first.headers["Preference-Applied"] == "wait=30"
    unchanged = api.get(f"/api/v1/jobs/{job_id}", WAIT | {"If-None-Match": first.headers["ETag"]})
    assert (unchanged.status_code, unchanged.data) == (304, b"")


@pytest.mark.parametrize(
    ("sent", "applied"),
    [
        ("wait=0", "wait=0"),
        ('wait="0"', "wait=0"),
        ("Wait = 0; foo", "wait=0"),
        ("return=minimal, wait=0", "wait=0"),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=soon", None),
        ("wait", None),
        ("return=minimal", None),
        ("", None),
        ("wait=٣", None),
    ],
)
def test_a_preference_is_understood_or_ignored(api: Api, small: Resources, sent: str, applied: str | None) -> None:
    """As RFC 7240 asks: what is not understood is no error."""
    response = api.get(f"/api/v1/jobs/{make_job(small.database)}", {"Prefer": sent.encode().decode("latin-1")})
    assert response.status_code == 200
    assert response.headers.get("Preference-Applied") == applied


@pytest.mark.parametrize("asked", ["31", "99999999999999"])
def test_nobody_waits_for_ever(api: Api, small: Resources, asked: str) -> None:
    """N is cut to the longest wait, and the answer says so."""
    job_id = make_job(small.database)
    finish_soon(small, 0)
    response = api.get(f"/api/v1/jobs/{job_id}", {"Prefer": f"wait={asked}"})
    assert response.headers["Preference-Applied"] == f"wait={LONGEST_WAIT_S}"


def test_a_full_room_refuses_questions_and_takes_films(small: Resources) -> None:
    """A question is told to come back; a film is accepted, its preference unheeded."""
    settings = small.settings.model_copy(update={"waiter_limit": 1})
    api = Api(replace(small, settings=settings), make_key(small.database))
    job_id = make_job(small.database)
    room_of(api).join("default", job_id)
    for path, headers in ((f"/api/v1/jobs/{job_id}", WAIT), (f"/api/v1/jobs/{job_id}/events", {})):
        response = api.get(path, headers)
        problem(response, 503, "waiters_full")
        assert int(response.headers["Retry-After"]) > 0
    taken = api.submit(headers=WAIT)
    assert job_of(taken, 202).status == "queued"
    assert "Preference-Applied" not in taken.headers


def stream_of(response: TestResponse) -> list[tuple[int, str, dict[str, object]]]:
    """(id, type, data) of each event of a stream that has ended."""
    assert response.status_code == 200, response.text
    assert response.content_type == "text/event-stream; charset=utf-8"
    found = []
    for block in response.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_the_stream_tells_what_happened_and_ends(api: Api, small: Resources) -> None:
    """From 'accepted' to the last event, whose type is 'done'; numbered as in the audit chain."""
    job_id = make_job(small.database)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(finish_soon, small)
        found = stream_of(api.get(f"/api/v1/jobs/{job_id}/events"))
        working.result()
    assert [(kind, data["event"], data["status"], data["done"]) for _, kind, data in found] == [
        ("status", "accepted", "queued", False),
        ("status", "claimed", "running", False),
        ("done", "succeeded", "succeeded", True),
    ]
    assert [number for number, _, _ in found] == [data["seq"] for _, _, data in found] == [2, 3, 4]
    assert {data["job_id"] for _, _, data in found} == {job_id}
    assert room_of(api).count() == 0


def test_a_stream_goes_on_where_it_was_cut(api: Api, small: Resources) -> None:
    """Whatever number the client saw last: no gap, no repeat; other jobs' events lie between."""
    job_id = make_job(small.database)
    make_job(small.database)
    (held, other) = claim(small.database)
    with jobs.changing(small.database) as changes:
        changes.retry(held, "worker:w1", "storage_down", 0.0, is_ours=True)
    finish(small.database, other)
    (again,) = claim(small.database)
    finish(small.database, again)
    path = f"/api/v1/jobs/{job_id}/events"
    whole = stream_of(api.get(path))
    assert [data["event"] for _, _, data in whole] == ["accepted", "claimed", "requeued", "claimed", "succeeded"]
    for place, (seen, _, _) in enumerate(whole[:-1]):
        assert stream_of(api.get(path, {"Last-Event-ID": str(seen)})) == whole[place + 1 :]
    over = api.get(path, {"Last-Event-ID": str(whole[-1][0])})
    assert (over.status_code, over.data) == (204, b"")
    assert room_of(api).count() == 0


@pytest.mark.parametrize("given", ["last", "-1", "1.5", "٣", "9" * 19, "9" * 18, "0x1"])
def test_a_bad_last_event_id_is_refused(api: Api, small: Resources, given: str) -> None:
    """400 that names the header; a number that was never given is one, too."""
    path = f"/api/v1/jobs/{make_job(small.database)}/events"
    found = problem(api.get(path, {"Last-Event-ID": given.encode().decode("latin-1")}), 400, "invalid_request")
    assert "Last-Event-ID" in found.detail
    assert room_of(api).count() == 0


def test_a_foreign_jobs_events_are_unknown(api: Api, small: Resources) -> None:
    """The same 404 as for an unknown one, and nobody is left waiting."""
    make_tenant(small.database, "clinic")
    stranger = Api(small, make_key(small.database, tenant="clinic"))
    mine = make_job(small.database)
    for job_id in (mine, UNKNOWN, "x"):
        problem(stranger.get(f"/api/v1/jobs/{job_id}/events"), 404, "job_not_found")
        problem(stranger.get(f"/api/v1/jobs/{job_id}", WAIT), 404, "job_not_found")
    assert room_of(stranger).count() == 0


def test_a_silent_stream_beats_and_ends(small: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment where nothing happens, so that proxies keep it; an end in time, so that keys are checked again."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(events, "LONGEST_STREAM_S", 8.0)
    looks = itertools.count()  # a second at each look at the clock
    monkeypatch.setattr(events, "EventStream", partial(events.EventStream, clock=lambda: float(next(looks))))
    api = Api(small, make_key(small.database))
    response = api.get(f"/api/v1/jobs/{make_job(small.database)}/events")
    assert response.text.startswith("retry: 2000\n\n")
    assert response.text.count(": still here\n\n") == 3
    assert [kind for _, kind, _ in stream_of(response)] == ["status"]
    assert room_of(api).count() == 0


def test_a_stream_that_is_dropped_leaves_the_room(api: Api, small: Resources) -> None:
    """Before its first byte, after it, and where only the head was asked for."""
    path = f"/api/v1/jobs/{make_job(small.database)}/events"
    for read in (0, 2):
        response = api.get(path, buffered=False)
        for _ in range(read):
            next(response.response)  # type: ignore[call-overload]
        assert room_of(api).count() == 1
        response.close()
        assert room_of(api).count() == 0
    assert api.request("HEAD", path).status_code == 200
    assert room_of(api).count() == 0


def test_the_events_are_those_of_the_chain(database: Database) -> None:
    """On both databases: each state change of a job is one event, and the chain holds."""
    from shared.db import event_queries  # noqa: PLC0415

    made = [make_job(database) for _ in range(3)]
    for held in claim(database)[:2]:
        finish(database, held)
    with database.read() as session:
        found = event_queries.list_events(session, made)
        past = event_queries.get_events(session, "default", made[0])
        held_all = audit.verify(session)
    assert [len(found[job_id]) for job_id in made] == [3, 3, 2]
    assert list(past.events) == found[made[0]]
    assert (past.newest_seq, held_all) == (8, (8, None))
    assert found[made[0]][-1].status is JobState.SUCCEEDED
