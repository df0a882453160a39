"""Before the web server's process becomes the server."""

from __future__ import annotations

import resource

import pytest

from shared.settings import Settings
from web import run


@pytest.mark.parametrize(
    ("host", "secure", "is_clear"),
    [("10.0.0.7", False, True), ("10.0.0.7", True, False), ("127.0.0.1", False, False)],
)
def test_who_serves_a_network_without_tls_is_told(host: str, *, secure: bool, is_clear: bool) -> None:
    """Where a proxy ends TLS, the setting says so."""
    assert run.is_in_clear(Settings(host=host, secure_cookies=secure)) is is_clear


@pytest.mark.parametrize(("soft", "connections"), [(64, 100), (1024, 512), (1_000_000, 10_000)])
def test_connections_take_half_of_the_descriptors(monkeypatch: pytest.MonkeyPatch, soft: int, connections: int) -> None:
    """Films on their way, the database and the decoder need the rest."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, soft))
    assert run.count_connections() == connections
