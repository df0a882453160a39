"""The unit floor needs nothing but this machine: no test of it reaches a network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_socket
import structlog
from structlog.typing import EventDict


@pytest.fixture(autouse=True)
def _offline(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sockets raise, but for those of the machine's own processes (AF_UNIX) and tests marked `enable_socket`."""
    if request.node.get_closest_marker("enable_socket"):
        yield
        return
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """No log lines: unconfigured, structlog paints a picture of each exception, which takes seconds."""

    def drop(_logger: object, _method: str, _event: EventDict) -> EventDict:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
