"""Saying no: too many films of one tenant, of all, or no room on the disk; with a time that means something."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import event

from shared import home
from shared.db import jobs
from shared.db.engine import Database
from shared.errors import QueueFull, StorageDown, StorageFull, TenantQueueFull
from shared.settings import Settings
from shared.wiring import Resources
from tests.api import Api, make_key, make_tenant
from tests.api_answers import problem
from tests.factories import make_pixels, make_png
from tests.jobs import claim, finish, make_job, make_slow
from web.backpressure import Backpressure, seconds_until_room


class Seconds:
    """A clock that moves when told."""

    now = 0.0

    def __call__(self) -> float:
        """The time it was set to."""
        return self.now


def make_admission(resources: Resources, clock: Seconds | None = None, **limits: int) -> Backpressure:
    """Backpressure with limits of its own."""
    return Backpressure(resources.database, resources.settings.model_copy(update=limits), clock or Seconds())


def count_statements(database: Database) -> list[str]:
    """What is asked of it from now on."""
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda _c, _u, text, *_rest: asked.append(text))
    return asked


def test_a_tenant_at_its_limit_is_told_to_wait(resources: Resources) -> None:
    """One below it passes; another tenant passes too."""
    make_tenant(resources.database, "clinic")
    make_job(resources.database)
    make_admission(resources, tenant_queue_limit=2).admit("default")
    make_job(resources.database)
    full = make_admission(resources, tenant_queue_limit=2)
    with pytest.raises(TenantQueueFull) as caught:
        full.admit("default")
    assert caught.value.retry_after_s is not None
    full.admit("clinic")


def test_the_whole_queue_at_its_limit_refuses_everybody(resources: Resources) -> None:
    """Whoever asks."""
    make_job(resources.database)
    with pytest.raises(QueueFull):
        make_admission(resources, queue_limit=1).admit("clinic")


def test_a_disk_that_is_nearly_full_takes_no_film(resources: Resources) -> None:
    """With the room that this machine really has, and more than it has."""
    make_admission(resources, min_free_bytes=0).admit("default")
    with pytest.raises(StorageFull):
        make_admission(resources, min_free_bytes=2**62).admit("default")


def test_the_disk_is_asked_once_a_second(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it said last holds meanwhile."""
    clock, free = Seconds(), [5, 3, 9]
    monkeypatch.setattr(home, "free_bytes", lambda _settings: free.pop(0))
    narrow = make_admission(resources, clock, min_free_bytes=4)
    said = []
    for clock.now in (0.0, 0.9, 1.0, 1.9, 2.0):
        try:
            narrow.check_disk()
        except StorageFull:
            said.append("full")
        else:
            said.append("room")
    assert said == ["room", "room", "full", "full", "room"]
    assert free == []


def test_a_disk_that_does_not_say_takes_no_film(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it taken for one with room afterwards: it is asked again."""

    def fail(_settings: Settings) -> int:
        asked.append(1)
        raise OSError

    asked: list[int] = []
    monkeypatch.setattr(home, "free_bytes", fail)
    away = make_admission(resources, min_free_bytes=0)
    for _ in range(2):
        with pytest.raises(StorageDown):
            away.admit("default")
    assert len(asked) == 2


def test_films_that_are_claimed_make_room(resources: Resources) -> None:
    """A running film does not wait; admission sees that when it asks again."""
    clock = Seconds()
    make_job(resources.database)
    full = make_admission(resources, clock, tenant_queue_limit=1)
    with pytest.raises(TenantQueueFull):
        full.admit("default")
    claim(resources.database)
    clock.now = 1.1
    full.admit("default")


def test_the_database_is_asked_once_a_second(resources: Resources) -> None:
    """However many films come; those accepted meanwhile count at once."""
    clock = Seconds()
    asked = count_statements(resources.database)
    admission = make_admission(resources, clock, tenant_queue_limit=3)
    admission.admit("default")
    admission.give_back("default")
    first = len(asked)
    for _ in range(3):
        admission.admit("default")
        admission.note_accepted("default")
    with pytest.raises(TenantQueueFull):
        admission.admit("default")
    assert len(asked) == first
    clock.now = 1.1
    admission.admit("default")  # those three never reached the table
    assert len(asked) == 2 * first


def test_a_film_has_its_place_before_it_is_accepted(resources: Resources) -> None:
    """Of many that come at once, the limit passes; a place that is given back is free, in the count of all too."""
    admission = make_admission(resources, tenant_queue_limit=2, queue_limit=3)
    admission.admit("default")
    admission.admit("default")
    with pytest.raises(TenantQueueFull, match="2 films"):
        admission.admit("default")
    admission.give_back("default")
    admission.admit("default")
    admission.admit("clinic")
    with pytest.raises(QueueFull):
        admission.admit("clinic")


def test_a_place_outlives_the_next_count(resources: Resources) -> None:
    """A film that is being accepted while the database is asked is not in its answer, and not forgotten."""
    clock = Seconds()
    admission = make_admission(resources, clock, tenant_queue_limit=1)
    admission.admit("default")
    clock.now = 1.1
    with pytest.raises(TenantQueueFull):
        admission.admit("default")


@pytest.mark.parametrize(
    ("over", "rate", "expected"), [(0, 10.0, 1), (99, 10.0, 10), (0, 0.1, 10), (10_000, 1.0, 300), (5, 0.0, 30)]
)
def test_the_wait_is_what_the_measured_rate_makes_it(over: int, rate: float, expected: int) -> None:
    """Between a second and five minutes; half a minute where nothing was finished lately."""
    assert seconds_until_room(over, rate) == expected


def test_the_rate_is_counted_from_what_was_finished(resources: Resources) -> None:
    """Six films in the last minute are a tenth a second: one place in ten seconds."""
    for _ in range(6):
        make_job(resources.database)
    for held in claim(resources.database):
        finish(resources.database, held)
    make_slow(resources.database, 60)
    make_job(resources.database)
    with pytest.raises(TenantQueueFull) as caught:
        make_admission(resources, tenant_queue_limit=1).admit("default")
    assert caught.value.retry_after_s == 10


def test_a_full_queue_is_answered_429_with_a_time(small: Resources) -> None:
    """Nothing is stored, and a film that was accepted before is still answered by its key."""
    api = Api(
        replace(small, settings=small.settings.model_copy(update={"tenant_queue_limit": 1})), make_key(small.database)
    )
    first = api.submit(headers={"Idempotency-Key": "first"})
    assert first.status_code == 202
    refused = api.submit(make_png(pixels=make_pixels(seed=5)), headers={"Idempotency-Key": "second"})
    problem(refused, 429, "tenant_queue_full")
    assert int(refused.headers["Retry-After"]) == 30
    assert api.submit(headers={"Idempotency-Key": "first"}).get_json()["id"] == first.get_json()["id"]
    assert len(small.blobs.data) == 1


def test_who_sends_films_is_told_how_many_more_may_wait(small: Resources) -> None:
    """By the fields of draft-ietf-httpapi-ratelimit-headers, from what is known anyway: nothing is asked for it."""
    limited = replace(small, settings=small.settings.model_copy(update={"tenant_queue_limit": 2}))
    api = Api(limited, make_key(small.database))
    told = [api.submit(make_png(pixels=make_pixels(seed=seed))) for seed in range(3)]
    assert [answer.status_code for answer in told] == [202, 202, 429]
    assert {answer.headers["RateLimit-Policy"] for answer in told} == {'"waiting-films";q=2'}
    limits = [answer.headers["RateLimit"] for answer in told]
    assert limits == ['"waiting-films";r=1', '"waiting-films";r=0', '"waiting-films";r=0;t=30']
    assert "RateLimit" not in api.get("/api/v1/jobs").headers
    admission, asked = make_admission(small, tenant_queue_limit=2), count_statements(small.database)
    assert (admission.places_left("default"), asked) == (2, [])


def test_a_film_that_is_not_accepted_gives_its_place_back(small: Resources) -> None:
    """One that cannot be read, however often it comes, keeps no other from the queue."""
    api = Api(
        replace(small, settings=small.settings.model_copy(update={"tenant_queue_limit": 1})), make_key(small.database)
    )
    for _ in range(3):
        problem(api.submit(make_png()[:200]), 422, "unreadable_image")
    assert api.submit().status_code == 202
    problem(api.submit(), 429, "tenant_queue_full")


def test_a_film_may_name_its_time(small: Resources) -> None:
    """`expires_in_s` sets `expires_at` by the database's clock; past it the film is never started."""
    api = Api(small, make_key(small.database))
    job = api.submit(query="?expires_in_s=60").get_json()
    assert job["expires_at"] > job["created_at"]
    small.database.now = lambda session, told=small.database.now: told(session).replace(year=2100)
    assert claim(small.database) == []
    with jobs.changing(small.database) as changes:
        assert changes.expire_due() == [job["id"]]


@pytest.mark.parametrize("seconds", ["0", "-5", "soon", "99999999"])
def test_a_time_that_is_none_is_refused(small: Resources, seconds: str) -> None:
    """Before the film is read."""
    problem(Api(small, make_key(small.database)).submit(query=f"?expires_in_s={seconds}"), 400, "invalid_request")
