"""`plainfilm doctor` says what is missing and how to get it, and changes nothing."""

from __future__ import annotations

import shutil
import socket
import sys
from pathlib import Path

import pytest

from shared.broker import free_port
from shared.db import migrate
from shared.db.engine import Database, make_engine
from shared.doctor import Finding, examine
from shared.settings import Settings

pytestmark = pytest.mark.enable_socket  # it looks whether a port of this machine is taken


def found(settings: Settings, what: str) -> Finding:
    """The one finding that begins with `what`."""
    (finding,) = [finding for finding in examine(settings) if finding.what.startswith(what)]
    return finding


def test_an_empty_home_is_fine_and_stays_empty(tmp_path: Path) -> None:
    """Nothing is made by looking."""
    settings = Settings(home=tmp_path / "not" / "there", port=free_port())
    findings = examine(settings)
    assert [finding.what for finding in findings if finding.is_needed and not finding.is_fine] == []
    assert found(settings, "database").state == "SQLite, made at the first start"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["celery", "tensorflow"])
def test_a_worker_needs_both_its_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """One of them alone is no worker's installation; the web process needs neither."""
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    worker = found(Settings(home=tmp_path, port=free_port()), "extra 'worker'")
    assert (worker.is_fine, worker.state) == (False, "missing: pip install 'plainfilm[worker]'")
    assert found(Settings(home=tmp_path, port=free_port()), "extra 'web'").is_fine


def test_a_named_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Looking at an SQLite address makes neither its folder nor its file."""
    settings = Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path / 'deep' / 'x.db'}", port=free_port())
    examine(settings)
    assert list(tmp_path.iterdir()) == []


def test_marks_tell_needed_from_optional() -> None:
    """Two exclamation marks stop a start, two dashes do not."""
    needed, optional = Finding("x", is_fine=False, state=""), Finding("x", is_fine=False, state="", is_needed=False)
    assert (needed.mark, optional.mark, Finding("x", is_fine=True, state="").mark) == ("!!", "--", "ok")


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    """By another service a start would fail; the one of this home is none."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = Settings(home=tmp_path, port=other.getsockname()[1])
        finding = found(settings, "port")
        assert finding.mark == "!!"
        assert "PLAINFILM_PORT" in finding.state
        settings.run.mkdir()
        (settings.run / "url").write_text(f"http://127.0.0.1:{settings.port}")
        assert found(settings, "port").is_fine
    assert found(settings, "port").state == "free"


@pytest.mark.parametrize("host", ["::g", "192.0.2.1", "2001:db8::1"])
def test_a_host_that_is_no_address_of_this_machine_is_told(tmp_path: Path, host: str) -> None:
    """A finding beside the others, which names the setting: `plainfilm up` would refuse it."""
    finding = found(Settings(home=tmp_path, host=host, port=free_port()), "port")
    assert finding.mark == "!!"
    assert f"PLAINFILM_HOST {host} cannot be listened at" in finding.state


def test_a_broker_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable to look at, without the password."""
    monkeypatch.setattr("time.sleep", lambda _s: None)
    settings = Settings(home=tmp_path, redis_url=f"redis://:secret@127.0.0.1:{free_port()}/0", port=free_port())
    finding = found(settings, "broker")
    assert not finding.is_fine
    assert "PLAINFILM_REDIS_URL" in finding.state
    assert "secret" not in finding.state


def test_where_the_database_is_is_told(tmp_path: Path, sqlite_template: Path) -> None:
    """Empty or behind: a start mends it. Ahead: this build cannot use it."""
    shutil.copy(sqlite_template, tmp_path / "plainfilm.db")
    settings = Settings(home=tmp_path, port=free_port())
    assert found(settings, "database").mark == "ok"
    database = Database(make_engine(settings.sql_url))
    migrate.downgrade(database, "0008")
    behind = found(settings, "database")
    assert (behind.mark, "plainfilm db upgrade" in behind.state) == ("--", True)
    with database.begin_core() as sql:
        sql.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert found(settings, "database").mark == "!!"
    with database.begin_core() as sql:
        sql.exec_driver_sql("DELETE FROM alembic_version")
    assert found(settings, "database").mark == "ok"
    database.close()


def test_too_little_room_is_told_as_the_service_sees_it(tmp_path: Path) -> None:
    """By the same limit."""
    assert found(Settings(home=tmp_path, port=free_port(), min_free_bytes=0), "disk").is_fine
    short = found(Settings(home=tmp_path, port=free_port(), min_free_bytes=2**60), "disk")
    assert short.mark == "!!"
    assert "PLAINFILM_MIN_FREE_BYTES" in short.state


def test_a_database_that_does_not_answer_is_told(tmp_path: Path) -> None:
    """With the variable to look at, without the password."""
    settings = Settings(
        home=tmp_path, database_url=f"postgresql://u:secret@127.0.0.1:{free_port()}/d", port=free_port()
    )
    finding = found(settings, "database")
    assert not finding.is_fine
    assert "PLAINFILM_DATABASE_URL" in finding.state
    assert "secret" not in finding.state


def test_an_address_that_is_none_is_told(tmp_path: Path) -> None:
    """A finding, not a traceback."""
    finding = found(Settings(home=tmp_path, database_url="postgresql://h/d?sslmode", port=free_port()), "database")
    assert not finding.is_fine
    assert "PLAINFILM_DATABASE_URL" in finding.state


def test_a_decoder_that_does_not_start_is_told(tmp_path: Path) -> None:
    """Its films would be answered 503 for ever; one that works has read a film."""
    settings = Settings(home=tmp_path, port=free_port())
    assert found(settings, "decoder").is_fine
    for command in ("/bin/false", "/nowhere/python"):
        (finding,) = [finding for finding in examine(settings, [command]) if finding.what == "decoder"]
        assert finding.mark == "!!"
        assert "shared.imaging.decoder_process" in finding.state


def test_a_home_that_others_may_enter_is_told(tmp_path: Path) -> None:
    """It stops no start."""
    tmp_path.chmod(0o750)
    finding = found(Settings(home=tmp_path, port=free_port()), "home")
    assert finding.mark == "--"
    assert f"chmod 700 {tmp_path}" in finding.state
