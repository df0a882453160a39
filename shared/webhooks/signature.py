"""Secrets and signatures by Standard Webhooks 1.0 (https://www.standardwebhooks.com), for receivers to check.

Six lines of HMAC: a test compares them with the package `standardwebhooks`, which does no more to sign.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
"""The specification allows 24 to 64."""


def make_secret() -> str:
    """Return a new secret as both sides store it: the prefix, and random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")


def sign(secret: str, delivery_id: str, timestamp_s: int, body: bytes) -> str:
    """Return `v1,` and the HMAC-SHA256, in base64, of id, time and body, joined by dots."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{delivery_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode("ascii")


def headers(secrets_: Sequence[str], delivery_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the specification's three headers; each secret signs, so that a secret can be rotated without a gap."""
    timestamp_s = int(at.timestamp())
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(sign(secret, delivery_id, timestamp_s, body) for secret in secrets_),
    }
