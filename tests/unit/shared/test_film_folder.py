"""A database and the folder of its films know each other, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.db import migrate
from shared.db.engine import Database, make_engine
from shared.db.film_folder import ABSENT, MARK, OTHER, UNMARKED, FilmFolder
from shared.errors import BlobMissing, StorageDown
from shared.storage.local import LocalBlobs
from shared.wiring import new_job_id


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the films are to lie."""
    return tmp_path / "home" / "films"


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Database]:
    """A second database."""
    made = Database(make_engine(f"sqlite:///{tmp_path / 'another.db'}"))
    migrate.upgrade(made)
    yield made
    made.close()


def refusal(films: FilmFolder, *, may_mark: bool) -> str | None:
    """Why it does not open."""
    try:
        films.open(may_mark=may_mark)
    except StorageDown as error:
        return error.detail
    return None


def test_the_first_that_stores_films_marks_the_folder(database: Database, root: Path) -> None:
    """Whoever comes later finds it, readers too; the mark is for the owner's eyes."""
    FilmFolder(root, database).open(may_mark=True)
    for may_mark in (True, False):
        later = FilmFolder(root, database)
        later.open(may_mark=may_mark)
        later.check()
    assert (root / MARK).stat().st_mode & 0o777 == 0o600
    assert root.stat().st_mode & 0o777 == 0o700


def test_films_of_an_older_build_are_taken_over(database: Database, root: Path) -> None:
    """They lie there without a mark, and the database has never seen one."""
    ref = LocalBlobs(root).put("default", new_job_id(), b"film")
    films = FilmFolder(root, database)
    films.open(may_mark=True)
    assert LocalBlobs(root, films.check).get(ref) == b"film"


def test_a_reader_marks_nothing(database: Database, root: Path) -> None:
    """It may be the one whose home is wrong."""
    assert refusal(FilmFolder(root, database), may_mark=False) == UNMARKED
    assert not root.exists()


def test_a_second_folder_is_refused(database: Database, root: Path, tmp_path: Path) -> None:
    """Nor is it marked: another home, or the place where a volume should be mounted."""
    FilmFolder(root, database).open(may_mark=True)
    for may_mark in (True, False):
        assert refusal(FilmFolder(tmp_path / "other", database), may_mark=may_mark) == ABSENT
    assert not (tmp_path / "other").exists()


def test_another_databases_films_are_refused(database: Database, another: Database, root: Path) -> None:
    """The mark stays theirs."""
    FilmFolder(root, database).open(may_mark=True)
    for may_mark in (True, False):
        assert refusal(FilmFolder(root, another), may_mark=may_mark) == OTHER
    assert refusal(FilmFolder(root, database), may_mark=False) is None


def test_a_process_that_died_between_mark_and_row_did_no_harm(database: Database, root: Path) -> None:
    """The next one finds the mark and writes the row."""
    films = FilmFolder(root, database)
    films.open(may_mark=True)
    own = (root / MARK).read_text()
    with database.begin_core() as sql:
        sql.exec_driver_sql("UPDATE database_identity SET marked_at = NULL")
    FilmFolder(root, database).open(may_mark=False)
    (root / MARK).unlink()
    assert refusal(FilmFolder(root, database), may_mark=True) == ABSENT
    (root / MARK).write_text(own)
    assert refusal(FilmFolder(root, database), may_mark=True) is None


def test_a_film_that_is_missing_from_another_folder_is_not_lost(database: Database, root: Path) -> None:
    """The store is away: asking again helps. In the right folder it is lost."""
    films = FilmFolder(root, database)
    films.open(may_mark=True)
    ref = LocalBlobs(root, films.check).put("default", new_job_id(), b"film")
    (root / ref).unlink()
    with pytest.raises(BlobMissing):
        LocalBlobs(root, films.check).get(ref)
    (root / MARK).rename(root / "elsewhere")
    with pytest.raises(StorageDown, match="PLAINFILM_HOME"):
        LocalBlobs(root, films.check).get(ref)


def test_no_film_is_stored_before_the_folder_is_open(database: Database, root: Path) -> None:
    """Refused for now, and nothing is made."""
    films = FilmFolder(root, database)
    with pytest.raises(StorageDown):
        LocalBlobs(root, films.check).put("default", new_job_id(), b"film")
    assert not root.exists()


def test_no_film_is_stored_under_a_volume_that_went(database: Database, root: Path) -> None:
    """The tenant's folder is not there: that is asked about once, not with each film."""
    films = FilmFolder(root, database)
    films.open(may_mark=True)
    asked: list[int] = []
    blobs = LocalBlobs(root, lambda: (asked.append(1), films.check())[1])
    for _ in range(3):
        blobs.put("default", new_job_id(), b"film")
    assert len(asked) <= 2
    root.rename(root.with_name("unmounted"))
    root.mkdir()
    with pytest.raises(StorageDown):
        blobs.put("default", new_job_id(), b"film")
    assert list(root.iterdir()) == []
