"""Deleting over the API and on the film page: what goes, what is answered from then on, who sees the button."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from shared import wire
from shared.errors import StorageDown
from shared.storage.local import LocalBlobs
from shared.wiring import Resources
from tests.api import Api, make_key, stored
from tests.api_answers import job_of, problem
from tests.factories import make_jpeg
from tests.fakes import LocalNotifier, MemoryBlobs
from tests.jobs import claim, finish
from web import submit


@dataclass(slots=True)
class StuckBlobs(MemoryBlobs):
    """Nothing can be removed."""

    def delete(self, ref: str) -> None:
        """The disk says no."""
        raise StorageDown("The film could not be removed.", ref=ref)


@dataclass(slots=True)
class LateBlobs(MemoryBlobs):
    """Something happens between the question where a film lies and the look there."""

    meanwhile: Callable[[], object] = int

    def get(self, ref: str, *, is_last: bool = False) -> bytes:
        """First that."""
        self.meanwhile()
        return MemoryBlobs.get(self, ref, is_last=is_last)


def send(api: Api) -> str:
    """A film that is answered; its job's id."""
    job_id = job_of(api.submit(), 202).id
    finish(api.resources.database, claim(api.resources.database)[0])
    return job_id


def delete(api: Api, job_id: str) -> TestResponse:
    """Over the API."""
    return api.request("DELETE", f"/api/v1/jobs/{job_id}")


def test_a_deleted_job_is_gone_with_its_film(api: Api) -> None:
    """204, and 410 from then on: for the job, its film, its maps, its events, its cancellation, its deletion."""
    job_id = send(api)
    response = delete(api, job_id)
    assert (response.status_code, response.data) == (204, b"")
    assert stored(api.resources) == (0, 0)
    assert isinstance(api.resources.notifier, LocalNotifier)
    assert api.resources.notifier.published[-1] == (job_id,)
    own = f"/api/v1/jobs/{job_id}"
    for method, path in (
        ("GET", own),
        ("GET", f"{own}/film"),
        ("GET", f"{own}/events"),
        ("GET", f"{own}/explanations"),
        ("GET", f"{own}/explanations/grad_cam"),
        ("POST", f"{own}/cancel"),
        ("DELETE", own),
    ):
        problem(api.request(method, path), 410, "job_deleted")
    ask = api.request("POST", f"{own}/explanations", json={"method": "gradient"})
    problem(ask, 410, "job_deleted")


def test_a_job_says_until_when_it_is_kept(api: Api, small: Resources) -> None:
    """In each answer that has it, once it has ended; only where jobs are kept for a time. Its ETag follows."""
    kept = Api(replace(small, settings=small.settings.model_copy(update={"retain_days": 30})), api.key)
    waiting = job_of(kept.submit(), 202)
    assert waiting.retain_until is None
    finish(small.database, claim(small.database)[0])
    first = kept.get(waiting.links.self)
    ended = job_of(first)
    assert ended.finished_at is not None
    assert ended.retain_until == ended.finished_at + timedelta(days=30)
    assert kept.get(waiting.links.self, {"If-None-Match": first.headers["ETag"]}).status_code == 304
    cancelled = job_of(kept.request("POST", f"{job_of(kept.submit(make_jpeg()), 202).links.self}/cancel"))
    assert cancelled.retain_until is not None
    same = job_of(kept.submit(headers={"Idempotency-Key": "k"}), 202)
    listed = wire.JobList.model_validate_json(kept.get("/api/v1/jobs").data).jobs
    assert [job.retain_until for job in listed] == [same.retain_until, cancelled.retain_until, ended.retain_until]
    assert job_of(api.get(waiting.links.self, {"If-None-Match": first.headers["ETag"]})).retain_until is None


def test_a_film_that_is_deleted_while_it_is_fetched_is_deleted(small: Resources) -> None:
    """410, as a moment later: it is no fault of ours that it is not there."""
    blobs = LateBlobs()
    api = Api(replace(small, blobs=blobs), make_key(small.database))
    job_id = send(api)
    blobs.meanwhile = lambda: delete(Api(api.resources, api.key), job_id)
    problem(api.get(f"/api/v1/jobs/{job_id}/film"), 410, "job_deleted")


def test_the_same_film_is_read_anew_after_it(api: Api) -> None:
    """Its stored answer went as well."""
    job_id = send(api)
    delete(api, job_id)
    again = job_of(api.submit(), 202)
    assert (again.status, again.cached) == ("queued", False)


def test_a_film_is_deleted_before_it_was_read(api: Api) -> None:
    """Nothing is left in the queue."""
    job_id = job_of(api.submit(), 202).id
    assert delete(api, job_id).status_code == 204
    assert stored(api.resources) == (0, 0)
    assert claim(api.resources.database) == []


def test_an_uploader_deletes_its_own_films_alone(api: Api) -> None:
    """403 for another's, which stays; an auditor deletes none."""
    uploader, other, auditor = (
        Api(api.resources, make_key(api.resources.database, role=role)) for role in ("uploader", "uploader", "auditor")
    )
    job_id = send(uploader)
    for stranger in (other, auditor):
        problem(delete(stranger, job_id), 403, "forbidden")
    assert stored(api.resources) == (1, 1)
    assert delete(uploader, job_id).status_code == 204


def test_nothing_is_deleted_beside_another_databases_films(api: Api) -> None:
    """Its rows would go, and its film would stay in the folder that is not here."""
    job_id = send(api)
    assert isinstance(api.resources.blobs, MemoryBlobs)
    api.resources.blobs.away = True
    problem(delete(api, job_id), 503, "storage_down")
    assert stored(api.resources) == (1, 1)


def test_a_film_that_cannot_be_removed_now_is_told_to_the_operator(small: Resources) -> None:
    """Its rows are gone, so workers remove it as an orphan."""
    api = Api(replace(small, blobs=StuckBlobs()), make_key(small.database))
    job_id = send(api)
    with capture_logs() as lines:
        assert delete(api, job_id).status_code == 204
    assert [line["job_id"] for line in lines if line["event"] == "film.not_removed"] == [job_id]
    assert stored(api.resources) == (1, 0)


def test_a_folder_that_takes_no_changes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the disk says when a film is to be removed; the film stays."""
    blobs = LocalBlobs(tmp_path)
    ref = blobs.put("default", "01997000-0000-7000-8000-000000000000", b"film")

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(StorageDown):
            blobs.delete(ref)
    assert blobs.get(ref) == b"film"


def test_the_film_page_deletes_and_the_worklist_says_so_once(api: Api) -> None:
    """By a form that works without scripts; without its token nothing happens; the page itself is gone then."""
    job_id = send(api)
    person = api.browse()
    address = f"/jobs/{job_id}"
    assert "Delete for good" in person.request("GET", address).text
    assert person.request("POST", f"{address}/delete").status_code == 403
    assert stored(api.resources) == (1, 1)
    response = person.request("POST", f"{address}/delete", data={"csrf_token": person.csrf_token()})
    assert (response.status_code, response.headers["Location"]) == (303, "/")
    assert stored(api.resources) == (0, 0)
    told = f"Film {job_id[-8:]} is deleted."
    assert told in person.request("GET", "/").text
    assert told not in person.request("GET", "/").text
    gone = person.request("GET", address, {"Accept": "text/html"})
    assert gone.status_code == 410
    assert "The job was deleted" in gone.text


def test_who_may_not_delete_sees_no_button(api: Api) -> None:
    """An uploader on another's film, an auditor on any."""
    job_id = send(api)
    for role in ("uploader", "reviewer", "auditor"):
        person = Api(api.resources, make_key(api.resources.database, role=role)).browse()
        assert "Delete for good" not in person.request("GET", f"/jobs/{job_id}").text


def test_pages_say_how_long_films_are_kept(api: Api) -> None:
    """Before a film is sent, and beside each that has ended; where they are kept for good, neither names a day."""
    person = api.browse()
    job_id = send(api)
    assert "until it is deleted" in person.request("GET", "/").text
    assert "Kept until" not in person.request("GET", f"/jobs/{job_id}").text
    settings = api.resources.settings.model_copy(update={"retain_days": 30.0})
    dated = Api(replace(api.resources, settings=settings), api.key)
    person = dated.browse()
    assert "until 30 days after its job has ended" in person.request("GET", "/").text
    page = person.request("GET", f"/jobs/{job_id}").text
    ended = job_of(api.get(f"/api/v1/jobs/{job_id}")).finished_at
    assert isinstance(ended, datetime)
    assert "Kept until" in page
    waiting = job_of(dated.submit(headers={"Cache-Control": "no-cache"}), 202).id
    assert "Kept until" not in person.request("GET", f"/jobs/{waiting}").text


def test_a_key_whose_job_is_deleted_just_now_is_to_be_sent_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row was there when ours was inserted, and is gone when it is looked for: 503, and nothing is left of ours."""
    key = {"Idempotency-Key": "mine"}
    job_of(api.submit(headers=key), 202)
    with monkeypatch.context() as patch:
        patch.setattr(submit, "_find_earlier", lambda *_: None)
        problem(api.submit(headers=key | {"Cache-Control": "no-cache"}), 503, "unavailable")
    assert stored(api.resources) == (1, 1)


def test_a_deleted_row_goes_from_every_open_worklist(api: Api) -> None:
    """Also one that had ended; those that are there stay."""
    gone, kept = send(api), send(api)
    delete(api, gone)
    page = api.browse().request("GET", f"/live?shown={gone}+{kept}").text
    assert f'id="job-{gone}" hx-swap-oob="delete"' in page
    assert f'id="job-{kept}" hx-swap-oob="delete"' not in page


@pytest.mark.parametrize(
    ("query", "status", "leads_to", "left"),
    [
        ("?status=succeeded&reviewed=no", 303, "/?status=succeeded&reviewed=no", 0),
        ("?next=https://elsewhere.example/", 400, None, 1),
    ],
)
def test_the_deletion_leads_back_to_the_list_as_it_was_filtered(
    api: Api, query: str, status: int, leads_to: str | None, left: int
) -> None:
    """And nowhere else: nothing is deleted by an address that is not ours."""
    job_id, person = send(api), api.browse()
    form = {"csrf_token": person.csrf_token()}
    answer = person.request("POST", f"/jobs/{job_id}/delete{query}", data=form)
    assert (answer.status_code, answer.headers.get("Location")) == (status, leads_to)
    assert stored(api.resources) == (left, left)
