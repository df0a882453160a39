"""`Content-Digest` (RFC 9530) on a raw upload: compared where it is sent, with what was hashed anyway."""

from __future__ import annotations

import base64
import hashlib

import pytest

from shared.wiring import Resources
from tests.api import Api, stored
from tests.api_answers import problem
from tests.factories import make_jpeg, make_png


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """As `Content-Digest` has it, without its name."""
    return f":{base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}:"


def test_a_digest_that_matches_is_accepted(api: Api) -> None:
    """Beside others, which are not looked at; an empty header says nothing."""
    right, other = digest_of(make_png()), digest_of(b"other", "sha512")
    for given in (f"sha-256={right}", f"sha-512={other}, sha-256={right};x=1", f"sha-512={other}", "md5=::", ""):
        assert api.submit(headers={"Content-Digest": given}).status_code == 202, given


def test_a_digest_that_does_not_match_is_refused(api: Api, small: Resources) -> None:
    """The film was damaged on its way; a form's content is the whole form, of which no digest is made."""
    wrong = {"Content-Digest": f"sha-512={digest_of(make_png(), 'sha512')}, sha-256={digest_of(make_jpeg())}"}
    found = problem(api.submit(headers=wrong), 422, "digest_mismatch")
    assert "Content-Digest" in found.detail
    assert stored(small) == (0, 0)
    assert api.submit_form(("file", make_png()), headers=wrong).status_code == 202


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
    assert "Content-Digest" in problem(api.submit(headers={"Content-Digest": given}), 400, "invalid_request").detail
    assert stored(small) == (0, 0)
