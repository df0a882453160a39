"""`/api/v1/jobs/<id>/explanations`: asked for once, told as it is, fetched as picture, numbers or raw map."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from shared.db.tables import AuditEvent, Explanation, Result
from shared.imaging import stored
from shared.wiring import new_job_id
from tests.api import Api, make_key, make_tenant
from tests.explanations import explain, fail_explanation, make_explanation, make_result, take
from tests.fakes import RecordingQueue
from tests.jobs import make_job
from web import explain as use_case


def ask(api: Api, job_id: str, method: str = "gradient") -> TestResponse:
    """For a map."""
    return api.request("POST", f"/api/v1/jobs/{job_id}/explanations", json={"method": method})


def get(api: Api, job_id: str, name: str = "") -> TestResponse:
    """The list, or what `name` names."""
    return api.get(f"/api/v1/jobs/{job_id}/explanations{'/' if name else ''}{name}")


def rings(api: Api) -> list[str]:
    """Ids of explanations that were rung for."""
    assert isinstance(api.resources.queue, RecordingQueue)
    return api.resources.queue.explained


def rows(api: Api) -> int:
    """Explanations in the database."""
    with api.resources.database.read() as session:
        return session.scalar(select(func.count()).select_from(Explanation)) or 0


def problem(answer: TestResponse) -> tuple[int, str]:
    """(status, code)."""
    return answer.status_code, answer.get_json()["code"]


def test_a_tenant_may_have_so_many_maps_waiting(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """429 with when to ask again; what was asked for before is still told, and one that is taken makes room."""
    monkeypatch.setattr(use_case, "MOST_WAITING", 2)
    job_ids = [make_result(api.resources.database) for _ in range(3)]
    assert [ask(api, job_id).status_code for job_id in job_ids[:2]] == [202, 202]
    refused = ask(api, job_ids[2])
    assert problem(refused) == (429, "tenant_queue_full")
    assert refused.headers["Retry-After"] == "10"
    assert ask(api, job_ids[0]).status_code == 202
    assert rows(api) == 2
    take(api.resources.database)
    assert ask(api, job_ids[2]).status_code == 202


def test_a_request_is_accepted_recorded_and_rung(api: Api) -> None:
    """202 with where and when to look; the film's trail says who asked for what, for which label and model."""
    job_id = make_result(api.resources.database)
    answer = ask(api, job_id)
    said: dict[str, Any] = answer.get_json()
    assert (answer.status_code, said["status"], said["done"]) == (202, "queued", False)
    assert answer.headers["Location"] == f"/api/v1/jobs/{job_id}/explanations/gradient.json"
    assert answer.headers["Retry-After"] == "1"
    assert (said["label"], said["seed"], said["model_sha256"]) == ("normal", 0, "f" * 64)
    assert (said["sha256"], said["quality"], said["parameters"]) == (None, None, None)
    with api.resources.database.read() as session:
        row = session.scalars(select(Explanation)).one()
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "explanation_requested")).one()
    assert rings(api) == [row.id]
    assert event.subject == job_id
    assert answer.headers["X-Request-Id"] in event.body


def test_a_form_asks_as_well(api: Api) -> None:
    """As curl's -F or -d sends it."""
    job_id = make_result(api.resources.database)
    answer = api.request("POST", f"/api/v1/jobs/{job_id}/explanations", data={"method": "smooth_grad"})
    assert (answer.status_code, answer.get_json()["method"]) == (202, "smooth_grad")


def test_asking_again_changes_nothing(api: Api) -> None:
    """Waiting, being made or done: the answer is the one explanation as it is, without a second ring or row."""
    job_id = make_result(api.resources.database)
    ask(api, job_id)
    again = [ask(api, job_id)]
    order = take(api.resources.database)
    assert order is not None
    again.append(ask(api, job_id))
    assert [(answer.status_code, answer.get_json()["status"]) for answer in again] == [
        (202, "queued"),
        (202, "running"),
    ]
    assert (len(rings(api)), rows(api)) == (1, 1)


def test_a_stored_map_is_answered_as_it_is(api: Api) -> None:
    """200 with its numbers, which nobody computes again."""
    job_id = make_result(api.resources.database)
    ask(api, job_id)
    explain(api.resources.database)
    answer = ask(api, job_id)
    said = answer.get_json()
    assert (answer.status_code, said["status"], "Retry-After" in answer.headers) == (200, "succeeded", False)
    assert said["quality"]["deletion_auc"] == 0.31
    assert take(api.resources.database) is None


def test_a_failed_one_is_tried_again(api: Api) -> None:
    """Asking is the way: queued once more, and rung; what it failed of is gone."""
    job_id = make_result(api.resources.database)
    ask(api, job_id)
    fail_explanation(api.resources.database)
    told = get(api, job_id, "gradient.json").get_json()
    assert (told["status"], told["done"], told["error"]["code"]) == ("failed", True, "model_replaced")
    answer = ask(api, job_id)
    assert (answer.status_code, answer.get_json()["status"], answer.get_json()["error"]) == (202, "queued", None)
    assert len(rings(api)) == 2
    assert rows(api) == 1


def test_two_requests_at_once_are_one(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one meets the other's row: it answers with it, and does not ring."""
    job_id = make_result(api.resources.database)
    make_explanation(api.resources.database, job_id)
    with monkeypatch.context() as patch:
        patch.setattr(use_case.explanation_queries, "find_id", lambda *_: None)
        answer = ask(api, job_id)
    assert (answer.status_code, answer.get_json()["status"]) == (202, "queued")
    assert (rings(api), rows(api)) == ([], 1)


def test_a_request_outlives_a_dead_broker(api: Api) -> None:
    """It is in the database; a worker finds it at its next poll."""
    assert isinstance(api.resources.queue, RecordingQueue)
    api.resources.queue.down = True
    assert ask(api, make_result(api.resources.database)).status_code == 202
    assert take(api.resources.database) is not None


@pytest.mark.parametrize("body", [b"{", b"[" * 10_000, b"\xff", b"null", b'{"method": NaN}', b'{"method": 7}'])
def test_a_body_that_says_no_method_is_told_so(api: Api, body: bytes) -> None:
    """400, however it is broken: nested too deep to be read, too."""
    address = f"/api/v1/jobs/{make_result(api.resources.database)}/explanations"
    answer = api.request("POST", address, {"Content-Type": "application/json"}, data=body)
    assert problem(answer) == (400, "invalid_request")


def test_only_a_result_can_be_explained(api: Api) -> None:
    """A job that waits is 409 with its state, and nothing is written."""
    answer = ask(api, make_job(api.resources.database))
    assert problem(answer) == (409, "not_explainable")
    assert "queued" in answer.get_json()["detail"]
    assert rows(api) == 0


@pytest.mark.parametrize(
    "body", [{}, {"method": "guess"}, {"method": None}, {"method": "gradient", "label": "normal"}, [], "gradient"]
)
def test_a_request_that_is_not_understood_names_what_is_wrong(api: Api, body: object) -> None:
    """400, before anything is read or written."""
    job_id = make_result(api.resources.database)
    answer = api.request("POST", f"/api/v1/jobs/{job_id}/explanations", json=body)
    assert problem(answer) == (400, "invalid_request")
    assert rows(api) == 0


def test_an_unknown_method_is_told_the_known_ones(api: Api) -> None:
    """All five."""
    detail = ask(api, make_result(api.resources.database), "guess").get_json()["detail"]
    for method in ("grad_cam", "grad_cam_plus_plus", "smooth_grad", "integrated_gradients", "gradient"):
        assert f"'{method}'" in detail


def test_a_body_that_is_no_json_is_refused(api: Api) -> None:
    """Broken JSON is a fault of the request."""
    path = f"/api/v1/jobs/{make_result(api.resources.database)}/explanations"
    answer = api.request("POST", path, {"Content-Type": "application/json"}, data=b"{")
    assert problem(answer) == (400, "invalid_request")


def test_who_may_only_look_cannot_ask(api: Api) -> None:
    """An auditor reads what there is; asking costs a worker's time."""
    auditor = Api(api.resources, make_key(api.resources.database, role="auditor"))
    job_id = make_result(api.resources.database)
    assert problem(ask(auditor, job_id)) == (403, "forbidden")
    assert get(auditor, job_id).status_code == 200


def test_another_tenants_film_is_not_there(api: Api) -> None:
    """404 as for an unknown job, whatever is asked."""
    make_tenant(api.resources.database, "clinic")
    other = Api(api.resources, make_key(api.resources.database, tenant="clinic"))
    job_id = make_result(api.resources.database)
    make_explanation(api.resources.database, job_id)
    explain(api.resources.database)
    answers = [ask(other, job_id), get(other, job_id)]
    answers += [get(other, job_id, name) for name in ("gradient", "gradient.npy", "gradient.json", "grad_cam")]
    assert {problem(answer) for answer in answers} == {(404, "job_not_found")}
    assert problem(ask(api, new_job_id())) == problem(ask(api, "nonsense")) == (404, "job_not_found")


def test_the_list_has_the_verdicts_map_and_all_that_were_asked_for(api: Api) -> None:
    """In the order of the methods; to be asked again while one is not done; empty before there is a result."""
    job_id = make_result(api.resources.database)
    for method in ("gradient", "smooth_grad"):
        ask(api, job_id, method)
    explain(api.resources.database)
    answer = get(api, job_id)
    listed = [(each["method"], each["status"]) for each in answer.get_json()["explanations"]]
    assert listed == [("grad_cam", "succeeded"), ("smooth_grad", "queued"), ("gradient", "succeeded")]
    assert answer.headers["Retry-After"] == "1"
    assert answer.get_json()["notice"] == "influence on the score, not where disease is"
    empty = get(api, make_job(api.resources.database))
    assert (empty.status_code, empty.get_json()["explanations"]) == (200, [])


def test_the_verdicts_own_map_gets_numbers_when_asked_for(api: Api) -> None:
    """Its picture and raw map are the same before, while and after; only then has it a quality."""
    job_id = make_result(api.resources.database)

    def look() -> tuple[bytes, bytes, object, str]:
        told = get(api, job_id, "grad_cam.json").get_json()
        return get(api, job_id, "grad_cam").data, get(api, job_id, "grad_cam.npy").data, told["quality"], told["status"]

    picture, raw, *rest = look()
    assert rest == [None, "succeeded"]
    assert ask(api, job_id, "grad_cam").status_code == 202
    assert look() == (picture, raw, None, "queued")
    explain(api.resources.database)
    again, raw_again, quality, status = look()
    assert (again, raw_again, status) == (picture, raw, "succeeded")
    assert quality is not None


def test_a_map_comes_as_picture_and_as_numbers(api: Api) -> None:
    """The overlay has the film's size, the raw map its own values; both are the explanation's that was asked for."""
    job_id = make_result(api.resources.database)
    ask(api, job_id)
    explain(api.resources.database)
    picture = get(api, job_id, "gradient")
    assert (picture.status_code, picture.mimetype) == (200, "image/png")
    assert Image.open(io.BytesIO(picture.data)).size == (64, 48)
    raw = get(api, job_id, "gradient.npy")
    np.testing.assert_array_equal(
        np.load(io.BytesIO(raw.data)), np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    )


def test_what_is_not_made_yet_says_so(api: Api) -> None:
    """202 and when to ask again, for the picture and for the raw map alike."""
    job_id = make_result(api.resources.database)
    ask(api, job_id)
    for name in ("gradient", "gradient.npy"):
        answer = get(api, job_id, name)
        assert (answer.status_code, answer.get_json()["status"], answer.headers["Retry-After"]) == (202, "queued", "1")


@pytest.mark.parametrize("name", ["smooth_grad", "guess", "gradient.", "gradient.png", "gradient.json.npy", "."])
def test_what_was_not_asked_for_is_not_there(api: Api, name: str) -> None:
    """404, with what there could be."""
    job_id = make_result(api.resources.database)
    ask(api, job_id)
    assert problem(get(api, job_id, name)) == (404, "not_found")


def test_a_failed_map_is_not_there_and_says_why(api: Api) -> None:
    """404 with the code; its numbers tell the same."""
    job_id = make_result(api.resources.database)
    ask(api, job_id)
    fail_explanation(api.resources.database, "blob_missing")
    answer = get(api, job_id, "gradient")
    assert problem(answer) == (404, "not_found")
    assert "blob_missing" in answer.get_json()["detail"]


def test_a_verdicts_map_that_could_not_be_judged_is_still_drawn(api: Api) -> None:
    """What failed is the judging."""
    job_id = make_result(api.resources.database)
    ask(api, job_id, "grad_cam")
    fail_explanation(api.resources.database)
    assert get(api, job_id, "grad_cam").status_code == 200
    assert get(api, job_id, "grad_cam.json").get_json()["error"]["code"] == "model_replaced"


def test_a_map_that_says_nothing_is_not_drawn(api: Api) -> None:
    """404 for the picture, with where its values are."""
    job_id = make_result(api.resources.database)
    ask(api, job_id)
    explain(api.resources.database, is_degenerate=True, degenerate_reason="constant")
    answer = get(api, job_id, "gradient")
    assert problem(answer) == (404, "not_found")
    assert ".npy" in answer.get_json()["detail"]
    assert get(api, job_id, "gradient.npy").status_code == 200
    assert get(api, job_id, "gradient.json").get_json()["degenerate_reason"] == "constant"


def test_a_map_of_pixels_is_stretched_to_be_seen(api: Api) -> None:
    """Its strongest hundredth is drawn alike; the stored values stay."""
    job_id = make_result(api.resources.database)
    for method in ("gradient", "grad_cam_plus_plus"):
        ask(api, job_id, method)
        explain(api.resources.database)
    drawn = [np.asarray(Image.open(io.BytesIO(get(api, job_id, m).data))) for m in ("gradient", "grad_cam_plus_plus")]
    assert drawn[0].astype(int).sum() > drawn[1].astype(int).sum()
    assert get(api, job_id, "gradient.npy").data == get(api, job_id, "grad_cam_plus_plus.npy").data


def test_a_browser_asks_with_its_token_only(api: Api) -> None:
    """The session alone is not enough; the token may be the header or the form's field."""
    browser = api.browse()
    address = f"/api/v1/jobs/{make_result(api.resources.database)}/explanations"
    refused = browser.request("POST", address, json={"method": "gradient"})
    assert problem(refused) == (403, "forbidden")
    token = browser.csrf_token()
    by_form = browser.request("POST", address, data={"method": "gradient", "csrf_token": token})
    by_header = browser.request("POST", address, {"X-CSRFToken": token}, json={"method": "gradient"})
    assert (by_form.status_code, by_header.status_code) == (202, 202)


def test_the_map_that_is_drawn_is_the_stored_one(api: Api) -> None:
    """The verdict's raw map is the result's column, byte by byte."""
    job_id = make_result(api.resources.database)
    with api.resources.database.read() as session:
        kept = session.get_one(Result, job_id).saliency
    np.testing.assert_array_equal(
        np.load(io.BytesIO(get(api, job_id, "grad_cam.npy").data)), stored.saliency_from_bytes(kept)
    )
