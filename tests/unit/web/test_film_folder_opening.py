"""When a web process begins to take films."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from shared.db.engine import Database
from shared.errors import DatabaseDown, StorageDown
from shared.wiring import Resources
from web import film_folder_opening


def test_no_film_is_taken_before_the_database_has_this_builds_schema(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an older one nor a newer one, whose tables we may not know; it is looked at again and again."""
    for revision, advice in (("0001", "run `plainfilm db upgrade`"), ("9999", "install the plainfilm that made it")):
        with resources.database.begin() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        with pytest.raises(DatabaseDown, match=f"at schema {revision}; this build needs .*{advice}"):
            film_folder_opening.check_schema(resources.database)

    def mend(_seconds: float) -> None:
        with pytest.raises(StorageDown):
            resources.films.check()
        with resources.database.begin() as session:
            session.execute(
                text("UPDATE alembic_version SET version_num = :head"), {"head": film_folder_opening.schema.HEAD}
            )

    monkeypatch.setattr(film_folder_opening.time, "sleep", mend)
    film_folder_opening.open_film_folder(resources)
    resources.films.check()


def test_a_fault_that_nobody_foresaw_does_not_end_the_looking(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the process would refuse films until somebody starts it again."""
    check, calls = film_folder_opening.check_schema, list[int]()

    def fail_once(database: Database) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError
        check(database)

    monkeypatch.setattr(film_folder_opening, "check_schema", fail_once)
    monkeypatch.setattr(film_folder_opening.time, "sleep", lambda _seconds: None)
    film_folder_opening.open_film_folder(resources)
    resources.films.check()
