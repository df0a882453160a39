"""The broker's address: parameters that redis-py cannot use are told at the start, not at each connection."""

from __future__ import annotations

import pytest

from shared.errors import InvalidRequest
from shared.redis_client import make_client
from shared.settings import Settings
from worker.app import create_celery

BROKER = "redis://:hush@127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"{BROKER}?nonsense=3", "no parameter 'nonsense'"),
        (f"{BROKER}?retry=5", "no parameter 'retry'"),
        ("rediss://:hush@127.0.0.1:1/0?ssl_nonsense=3", "ssl_nonsense"),
        ("rediss://:hush@127.0.0.1:1/0?ssl_cert_reqs=CERT_REQUIRED", "Certificate Requirements Flag: CERT_REQUIRED"),
        (f"{BROKER}?socket_timeout=soon", "socket_timeout"),
        (f"{BROKER}?timeout=-1", "timeout is no number from 0 to 60"),
        (f"{BROKER}?timeout=nan", "timeout is no number"),
        (f"{BROKER}?max_connections=1000000000", "max_connections is no number from 1 to 10000"),
        (f"{BROKER}?max_connections=many", "max_connections is no number"),
    ],
)
def test_an_address_that_cannot_be_used_is_told(url: str, said: str) -> None:
    """By the setting's name and what is wrong; its password is not told. A worker says so before it starts."""
    for make in (make_client, lambda url: create_celery(Settings(redis_url=url))):
        with pytest.raises(InvalidRequest, match=f"PLAINFILM_REDIS_URL cannot be used: .*{said}") as caught:
            make(url)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        BROKER,
        "rediss://127.0.0.1:1/0?ssl_cert_reqs=required",
        "redis://127.0.0.1:1/0?db=3&max_connections=100&timeout=2",
    ],
)
def test_any_other_is_taken_unconnected(url: str) -> None:
    """Nobody listens there."""
    make_client(url).close()
