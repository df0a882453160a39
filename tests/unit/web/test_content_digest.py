"""`Content-Digest` (RFC 9530): of a raw body compared with what was hashed anyway, of a form as it is read."""

from __future__ import annotations

import base64
import hashlib

import pytest
from werkzeug.test import TestResponse

from shared.wiring import Resources
from tests.api import Api, stored
from tests.api_answers import problem
from tests.factories import make_jpeg, make_png
from web.bodies import FORM


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """As `Content-Digest` has it, without its name."""
    return f":{base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}:"


def test_a_digest_that_matches_is_accepted(api: Api) -> None:
    """Beside others, which are not looked at; an empty header says nothing."""
    right, other = digest_of(make_png()), digest_of(b"other", "sha512")
    for given in (f"sha-256={right}", f"sha-512={other}, sha-256={right};x=1", f"sha-512={other}", "md5=::", ""):
        assert api.submit(headers={"Content-Digest": given}).status_code == 202, given


def send_form(api: Api, of_part: str | None = None, **headers: str) -> TestResponse:
    """A form as its bytes go, with a field beside the film and what may follow a form; `of_part`: its digest."""
    return api.request("POST", "/api/v1/jobs", {"Content-Type": f"{FORM}; boundary=x", **headers}, data=form(of_part))


def form(of_part: str | None = None) -> bytes:
    """The whole body."""
    digest = "" if of_part is None else f"Content-Digest: {of_part}\r\n"
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n{digest}\r\n'
    field = '\r\n--x\r\nContent-Disposition: form-data; name="note"\r\n\r\nnone\r\n--x--\r\nwhat follows'
    return head.encode() + make_png() + field.encode()


def test_a_digest_that_does_not_match_is_refused(api: Api, small: Resources) -> None:
    """The film was damaged on its way."""
    wrong = {"Content-Digest": f"sha-512={digest_of(make_png(), 'sha512')}, sha-256={digest_of(make_jpeg())}"}
    found = problem(api.submit(headers=wrong), 422, "digest_mismatch")
    assert "Content-Digest" in found.detail
    assert stored(small) == (0, 0)


def test_that_of_a_form_is_of_all_its_bytes(api: Api, small: Resources) -> None:
    """RFC 9530: of the content of the request, boundaries and all; one of the film alone is told where it belongs."""
    assert send_form(api, **{"Content-Digest": f"sha-256={digest_of(form())}"}).status_code == 202
    for data in (make_png(), form() + b".", form()[:-1]):
        found = problem(send_form(api, **{"Content-Digest": f"sha-256={digest_of(data)}"}), 422, "digest_mismatch")
        assert "belongs in the headers of its part" in found.detail
    assert stored(small) == (1, 1)


def test_that_of_a_part_is_of_the_film(api: Api, small: Resources) -> None:
    """In the part's own head; it is checked beside that of the whole form, and refused likewise."""
    right = f"sha-256={digest_of(make_png())}"
    assert send_form(api, right).status_code == 202
    assert send_form(api, right, **{"Content-Digest": f"sha-256={digest_of(form(right))}"}).status_code == 202
    wrong = f"sha-256={digest_of(make_jpeg())}"
    problem(send_form(api, wrong), 422, "digest_mismatch")
    problem(send_form(api, wrong, **{"Content-Digest": f"sha-256={digest_of(form(wrong))}"}), 422, "digest_mismatch")
    problem(send_form(api, "sha-256=abc"), 400, "invalid_request")
    assert stored(small) == (2, 2)


def test_a_form_from_a_browser_is_checked_too(api: Api) -> None:
    """Its token is looked for in the form, so that is read before anybody asks for its digest."""
    browser = api.browse()
    for data, status in ((form(), 202), (make_png(), 422)):
        headers = {"Content-Type": f"{FORM}; boundary=x", "Content-Digest": f"sha-256={digest_of(data)}"}
        headers["X-CSRFToken"] = browser.csrf_token()
        assert browser.request("POST", "/api/v1/jobs", headers, data=form()).status_code == status


@pytest.mark.parametrize(
    "given",
    [
        "x",
        "sha-256",
        "sha-256=abc",
        "sha-256=:YWJj:",
        "sha-256=:a:",
        "SHA-256=:YWJj:",
        "sha-256=:YWJj:,",
        "md5=1",
        "sha-256=::",
    ],
)
def test_a_digest_must_have_a_form(api: Api, small: Resources, given: str) -> None:
    """A dictionary of byte sequences; a SHA-256 has 32 of them."""
    for response in (api.submit(headers={"Content-Digest": given}), send_form(api, **{"Content-Digest": given})):
        assert "Content-Digest" in problem(response, 400, "invalid_request").detail
    assert stored(small) == (0, 0)
