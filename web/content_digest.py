"""`Content-Digest` (RFC 9530): the SHA-256 that a client says a body, or the part of a form, has."""

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
"""Of the header: algorithm and base64, as RFC 8941 writes a byte sequence."""

SHA256_BYTES: Final = 32


def of_body() -> str | None:
    """What the request says of its whole body, in hex; None where it says nothing, or names other algorithms alone.

    Raises:
        InvalidRequest: the header is not of its form.
    """
    return _promised(request.headers.get(NAME))


def of_film(of_body: str | None) -> str | None:
    """What it says of the film, in hex: a raw body is one; that of a form is checked, and its part may say more.

    Args:
        of_body: what it says of the body, which has been read.

    Raises:
        DigestMismatch: the form has another SHA-256.
        InvalidRequest: the header of the part is not of its form.
    """
    if request.mimetype != FORM:
        return of_body
    stream = request.stream
    if of_body is not None and (not isinstance(stream, BodyStream) or stream.sha256() != of_body):
        raise DigestMismatch(
            "The form that came does not have the SHA-256 of the request's Content-Digest, which is of the whole body; "
            "that of the film alone belongs into the head of its part. Send it again."
        )
    return _promised(request.files["file"].headers.get(NAME))


def _promised(given: str | None) -> str | None:
    if not given:
        return None
    members = [MEMBER.fullmatch(member.strip()) for member in given.split(",")]
    digests = {found[1]: base64.b64decode(found[2]) for found in members if found}
    promised = digests.get("sha-256")
    if not all(members) or (promised is not None and len(promised) != SHA256_BYTES):
        told = "must be like `sha-256=:<32 bytes in base64>:`"
        raise InvalidRequest(f"Content-Digest {told}.", [("Content-Digest", told)])
    return None if promised is None else promised.hex()
