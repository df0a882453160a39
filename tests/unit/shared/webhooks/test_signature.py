"""Signatures, held against an independent implementation of Standard Webhooks."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from shared.webhooks import signature

ID = "01997000-0000-7000-8000-000000000000"
BODY = b'{"type":"ping"}'


@given(st.binary(max_size=200).map(lambda raw: raw.decode("utf-8", "ignore").encode()), st.uuids().map(str))
def test_a_signature_is_the_librarys(body: bytes, delivery_id: str) -> None:
    """Of any text, to the letter."""
    secret, at = signature.make_secret(), datetime.now(UTC).replace(microsecond=0)
    theirs = Verifier(secret).sign(delivery_id, at.replace(tzinfo=None), body.decode())
    assert signature.headers([secret], delivery_id, at, body)["webhook-signature"] == theirs


def test_the_specifications_example_is_met() -> None:
    """Its secret, message and signature, as its documents print them."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    found = signature.sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_both_secrets_verify_while_one_is_replaced() -> None:
    """And a third does not; nor does the right one of another body, id or time."""
    old, new = signature.make_secret(), signature.make_secret()
    now = datetime.now(UTC)
    sent = signature.headers([new, old], ID, now, BODY)
    assert [Verifier(secret).verify(BODY, sent) for secret in (old, new)] == [{"type": "ping"}] * 2
    wrong = [
        (signature.make_secret(), BODY, sent),
        (new, BODY + b" ", sent),
        (new, BODY, sent | {"webhook-id": "x"}),
        (new, BODY, sent | {"webhook-timestamp": str(int(now.timestamp()) - 1)}),
        (new, BODY, signature.headers([new], ID, now - timedelta(hours=1), BODY)),
    ]
    for secret, body, headers in wrong:
        with pytest.raises(WebhookVerificationError):
            Verifier(secret).verify(body, headers)


def test_secrets_are_long_and_differ() -> None:
    """32 random bytes; they fit their column."""
    made = {signature.make_secret() for _ in range(10)}
    assert len(made) == 10
    assert {len(base64.b64decode(secret.removeprefix("whsec_"))) for secret in made} == {32}
    assert max(map(len, made)) <= 64
