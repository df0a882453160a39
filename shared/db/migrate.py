"""Migration of the database to the schema of this build, or back; `schema` reads the current revision."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from shared.db import schema
from shared.db.engine import Database, why_down
from shared.errors import Conflict, DatabaseDown, InvalidRequest


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's settings; the scripts are located as a package, in a checkout and in a wheel alike."""
    config = Config()
    config.set_main_option("script_location", "migrations:")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate up to `revision`; several processes may call it at once.

    Raises:
        DatabaseDown: it cannot be reached, or another session locks a table to be changed; nothing was changed.
        Conflict: its revision is unknown to this build, or it cannot store all texts; nothing was changed.
        InvalidRequest: there is no such revision to upgrade to.
    """
    try:
        with database.engine.begin() as connection:
            _check_encoding(connection)
            command.upgrade(alembic_config(connection), revision)
    except CommandError as error:
        found = schema.current_revision(database)
        if found is None or found <= schema.HEAD:
            raise InvalidRequest(f"There is no schema {revision}; this build goes up to {schema.HEAD}.") from error
        raise Conflict(
            f"The database is at schema {found}, which this build does not know: it goes "
            f"up to {schema.HEAD}. Install the plainfilm that made it, or take another database."
        ) from error
    except OperationalError as error:
        raise DatabaseDown("The database could not be migrated; it is as it was.", why=why_down(error)) from error


def _check_encoding(connection: Connection) -> None:
    """Check that a PostgreSQL database stores UTF-8; one in SQL_ASCII stores the bytes that it is given."""
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding not in {"UTF8", "SQL_ASCII"}:
        raise Conflict(
            f"The database is in {encoding}, which lacks most characters; make one with "
            "CREATE DATABASE plainfilm ENCODING 'UTF8' TEMPLATE template0."
        )


def downgrade(database: Database, revision: str) -> None:
    """Migrate down to `revision`; 'base' leaves no table of ours."""
    with database.engine.begin() as connection:
        command.downgrade(alembic_config(connection), revision)
