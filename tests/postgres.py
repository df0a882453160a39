"""The PostgreSQL server of the tests: its databases."""

from __future__ import annotations

from sqlalchemy import create_engine, make_url, text


def administer(url: str, statement: str) -> None:
    """Execute a statement outside of any transaction."""
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", pool_pre_ping=False
    )
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def named(url: str, name: str) -> str:
    """Return the URL of the server's database of this name."""
    return make_url(url).set(drivername="postgresql+psycopg", database=name).render_as_string(hide_password=False)
