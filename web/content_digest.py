"""`Content-Digest` (RFC 9530): the SHA-256 that a client states for a body, or for the part of a form."""

from __future__ import annotations

import base64
import re
from typing import Final

from flask import request

from shared.errors import DigestMismatch, InvalidRequest
from web.bodies import FORM, BodyStream

NAME: Final = "Content-Digest"

MEMBER: Final = re.compile(
    r"([a-z*][a-z0-9_.*-]*)=:((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?):(?:;.*)?"
)
"""One member of the header: algorithm and base64, as a byte sequence of RFC 8941."""

SHA256_BYTES: Final = 32


def of_body() -> str | None:
    """Return the stated SHA-256 of the request's whole body, in hex; None without one.

    Raises:
        InvalidRequest: the header is malformed.
    """
    return _parse_sha256(request.headers.get(NAME))


def of_film(of_body: str | None) -> str | None:
    """Return the stated SHA-256 of the film, in hex: the body's, or for a form that of its part; None without one.

    The digest of a form is checked here, since nothing else sees the whole form.

    Args:
        of_body: the stated SHA-256 of the body, which has been read.

    Raises:
        DigestMismatch: the form has another SHA-256.
        InvalidRequest: the header of the part is malformed.
    """
    if request.mimetype != FORM:
        return of_body
    stream = request.stream
    if of_body is not None and (not isinstance(stream, BodyStream) or stream.sha256() != of_body):
        raise DigestMismatch(
            "The received form does not match the request's Content-Digest, which covers the whole body; "
            "a digest of the film alone belongs in the headers of its part. Send it again."
        )
    return _parse_sha256(request.files["file"].headers.get(NAME))


def _parse_sha256(header: str | None) -> str | None:
    if not header:
        return None
    members = [MEMBER.fullmatch(member.strip()) for member in header.split(",")]
    digests = {member[1]: base64.b64decode(member[2]) for member in members if member}
    sha256 = digests.get("sha-256")
    if not all(members) or (sha256 is not None and len(sha256) != SHA256_BYTES):
        rule = "must be like `sha-256=:<32 bytes in base64>:`"
        raise InvalidRequest(f"Content-Digest {rule}.", [("Content-Digest", rule)])
    return None if sha256 is None else sha256.hex()
