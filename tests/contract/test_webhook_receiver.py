"""The receiver that docs/API.md shows does what it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import flask
import pytest
from standardwebhooks import WebhookVerificationError

from shared.webhooks import signature

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "API.md"


@pytest.fixture
def secret() -> str:
    """Both sides'."""
    return signature.make_secret()


@pytest.fixture
def receiver(secret: str) -> flask.Flask:
    """As it stands there, with a secret of this test's."""
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "whsec_" in block]
    names: dict[str, Any] = {"__name__": "__main__"}  # Any: what a module holds
    exec(code.replace("whsec_…", secret), names)  # noqa: S102  our own page
    app: flask.Flask = names["app"]
    app.testing = True
    return app


def test_it_takes_what_is_signed_and_nothing_else(
    receiver: flask.Flask, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """204 for ours; another's ends in an error, which is no 2xx."""
    body = b'{"type":"job.succeeded","timestamp":"2026-11-29T00:00:00Z","data":{"id":"j"}}'
    ours = signature.headers([secret], "d1", datetime.now(UTC), body)
    assert receiver.test_client().post("/films", data=body, headers=ours).status_code == 204
    assert capsys.readouterr().out == "d1 {'id': 'j'}\n"
    theirs = signature.headers([signature.make_secret()], "d1", datetime.now(UTC), body)
    with pytest.raises(WebhookVerificationError):
        receiver.test_client().post("/films", data=body, headers=theirs)
