"""How Alembic reaches the database: the caller's open connection, or the URL of the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from shared.db import webhook_tables  # noqa: F401  it adds its tables to those of `Base`
from shared.db.engine import lift_time_limit, make_engine
from shared.db.tables import Base
from shared.settings import load_settings

ADVISORY_LOCK = 0x706C6169
"""One migration at a time on PostgreSQL ('plai' in ASCII)."""


def run(connection: Connection) -> None:
    """Migrate over `connection`, in one transaction."""
    on_postgres = connection.dialect.name == "postgresql"
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=not on_postgres,
        compare_type=True,
    )
    with context.begin_transaction():
        if on_postgres:
            lift_time_limit(connection)  # a long table takes its time
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})  # however long
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        context.run_migrations()


def main() -> None:
    """Use the connection handed in by `shared.db.migrate`, else open one."""
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    with make_engine(load_settings().sql_url).begin() as connection:
        run(connection)


main()
