"""`plainfilm doctor` says what is missing and how to get it, and changes nothing."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url, text

from shared.broker import free_port
from shared.db import migrate
from shared.db.engine import Database, make_engine
from shared.db.film_folder import FilmFolder
from shared.doctor import Check, examine
from shared.exits import how_to_get
from shared.settings import Settings
from worker.engine import SHIPPED_MODEL

pytestmark = pytest.mark.enable_socket  # it looks whether a port of this machine is taken


def found(settings: Settings, what: str) -> Check:
    """The one finding that begins with `what`."""
    (check,) = [check for check in examine(settings) if check.subject.startswith(what)]
    return check


def test_an_empty_home_is_fine_and_stays_empty(tmp_path: Path) -> None:
    """Nothing is made by looking."""
    settings = Settings(home=tmp_path / "not" / "there", port=free_port())
    checks = examine(settings)
    assert [check.subject for check in checks if check.is_needed and not check.is_fine] == []
    assert found(settings, "database").state == "SQLite, made at the first start"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["celery", "tensorflow"])
def test_a_worker_needs_both_its_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """One of them alone is no worker's installation; the web process needs neither."""
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    worker = found(Settings(home=tmp_path, port=free_port()), "extra 'worker'")
    assert (worker.is_fine, worker.state) == (False, f"missing: {how_to_get('worker')}")
    assert found(Settings(home=tmp_path, port=free_port()), "extra 'web'").is_fine


def test_a_named_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Looking at an SQLite address makes neither its folder nor its file."""
    settings = Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path / 'deep' / 'x.db'}", port=free_port())
    examine(settings)
    assert list(tmp_path.iterdir()) == []


def test_marks_tell_needed_from_optional() -> None:
    """Two exclamation marks stop a start, two dashes do not."""
    needed, optional = Check("x", is_fine=False, state=""), Check("x", is_fine=False, state="", is_needed=False)
    assert (needed.mark, optional.mark, Check("x", is_fine=True, state="").mark) == ("!!", "--", "ok")


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    """By another service a start would fail; the one of this home is none."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = Settings(home=tmp_path, port=other.getsockname()[1])
        check = found(settings, "port")
        assert check.mark == "!!"
        assert "PLAINFILM_PORT" in check.state
        settings.run.mkdir()
        (settings.run / "url").write_text(f"http://127.0.0.1:{settings.port}")
        assert found(settings, "port").is_fine
    assert found(settings, "port").state == "free"


@pytest.mark.parametrize("host", ["::g", "192.0.2.1", "2001:db8::1"])
def test_a_host_that_is_no_address_of_this_machine_is_told(tmp_path: Path, host: str) -> None:
    """A finding beside the others, which names the setting: `plainfilm up` would refuse it."""
    check = found(Settings(home=tmp_path, host=host, port=free_port()), "port")
    assert check.mark == "!!"
    assert f"Cannot listen on PLAINFILM_HOST {host}: " in check.state


def test_a_broker_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable to look at, without the password."""
    monkeypatch.setattr("time.sleep", lambda _s: None)
    settings = Settings(home=tmp_path, redis_url=f"redis://:secret@127.0.0.1:{free_port()}/0", port=free_port())
    check = found(settings, "broker")
    assert not check.is_fine
    assert "PLAINFILM_REDIS_URL" in check.state
    assert "secret" not in check.state


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
    empty = found(settings, "database")
    assert (empty.mark, "plainfilm db upgrade" in empty.state) == ("ok", True)
    database.close()


def test_a_database_that_takes_no_changes_is_told(tmp_path: Path, postgres_url: str) -> None:
    """A standby after a failover: it answers, and each film that is sent is refused."""
    settings = Settings(home=tmp_path, database_url=SecretStr(postgres_url), port=free_port())
    assert found(settings, "database").mark == "ok"
    with Database(make_engine(settings.sql_url)) as database, database.begin() as session:
        name = make_url(postgres_url).database
        session.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    standby = found(settings, "database")
    assert (standby.mark, "read-only" in standby.state) == ("!!", True)


def test_a_database_file_that_is_read_only_is_told(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its disk: as a PostgreSQL that takes no changes."""
    file = Path(shutil.copy(sqlite_template, tmp_path / "plainfilm.db"))
    is_allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != file and is_allowed(path, mode))
    locked = found(Settings(home=tmp_path, port=free_port()), "database")
    assert (locked.mark, "read-only" in locked.state) == ("!!", True)


def test_films_that_are_elsewhere_are_told(tmp_path: Path, sqlite_template: Path) -> None:
    """A volume that is not mounted: each upload would be refused. Before the first start there is nothing to miss."""
    shutil.copy(sqlite_template, tmp_path / "plainfilm.db")
    settings = Settings(home=tmp_path, port=free_port())
    assert found(settings, "films").state == "none yet: the web process makes their folder"
    database = Database(make_engine(settings.sql_url))
    FilmFolder(settings.blobs, database).open(may_mark=True)
    database.close()
    assert found(settings, "films").mark == "ok"
    settings.blobs.rename(tmp_path / "unmounted")
    missing = found(settings, "films")
    assert (missing.mark, "PLAINFILM_HOME" in missing.state) == ("!!", True)


def test_films_that_cannot_be_written_are_told(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume mounted read-only: pages and answers are there, and each upload is answered 503."""
    shutil.copy(sqlite_template, tmp_path / "plainfilm.db")
    settings = Settings(home=tmp_path, port=free_port())
    with Database(make_engine(settings.sql_url)) as database:
        FilmFolder(settings.blobs, database).open(may_mark=True)
    is_allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != settings.blobs and is_allowed(path, mode))
    films = found(settings, "films")
    assert (films.mark, "not writable" in films.state, str(settings.blobs) in films.state) == ("!!", True, True)


def test_a_model_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """With its folder; of the one that ships nothing is said."""
    assert not [check for check in examine(Settings(home=tmp_path, port=free_port())) if check.subject == "model"]
    bad = found(Settings(home=tmp_path, port=free_port(), model_dir=tmp_path / "none"), "model")
    assert bad.mark == "!!"
    assert str(tmp_path / "none") in bad.state
    assert "PLAINFILM_MODEL_DIR" in bad.state
    assert found(Settings(home=tmp_path, port=free_port(), model_dir=SHIPPED_MODEL), "model").is_fine


def test_a_web_process_at_its_port_is_known_by_its_answer(tmp_path: Path) -> None:
    """As in a deployment in parts, where nobody wrote down that it runs; what says anything else is another's."""
    for said, mark in ((b"ok\n", "ok"), (b"hello\n", "!!")):
        with answering(said) as port:
            assert found(Settings(home=tmp_path, port=port), "port").mark == mark


@contextmanager
def answering(body: bytes) -> Iterator[int]:
    """A web server that says this to everything; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The answer."""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Nothing on the terminal."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_each_part_needs_its_own_extra_where_they_share_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    """The web's machine has no engine, and lacks nothing; with neither, nothing would start."""
    settings = Settings(home=tmp_path, port=free_port(), database_url=sqlite_url)
    monkeypatch.setitem(sys.modules, "celery", None)
    assert found(settings, "extra 'worker'").mark == "--"
    assert found(Settings(home=tmp_path, port=free_port()), "extra 'worker'").mark == "!!"
    monkeypatch.setitem(sys.modules, "flask", None)
    assert found(settings, "extra 'worker'").mark == "!!"


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
    check = found(settings, "database")
    assert not check.is_fine
    assert "PLAINFILM_DATABASE_URL" in check.state
    assert "secret" not in check.state


def test_an_address_that_is_none_is_told(tmp_path: Path) -> None:
    """A finding, not a traceback."""
    check = found(Settings(home=tmp_path, database_url="postgresql://h/d?sslmode", port=free_port()), "database")
    assert not check.is_fine
    assert "PLAINFILM_DATABASE_URL" in check.state


def test_a_decoder_that_does_not_start_is_told(tmp_path: Path) -> None:
    """Its films would be answered 503 for ever; one that works has read a film."""
    settings = Settings(home=tmp_path, port=free_port())
    assert found(settings, "decoder").is_fine
    for command in ("/bin/false", "/nowhere/python"):
        (check,) = [check for check in examine(settings, [command]) if check.subject == "decoder"]
        assert check.mark == "!!"
        assert "shared.imaging.decoder_process" in check.state


def test_a_home_that_others_may_enter_is_told(tmp_path: Path) -> None:
    """It stops no start."""
    tmp_path.chmod(0o750)
    check = found(Settings(home=tmp_path, port=free_port()), "home")
    assert check.mark == "--"
    assert f"chmod 700 {tmp_path}" in check.state
