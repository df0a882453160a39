"""`plainfilm backup`: copies a snapshot of the database and its films to a folder that is a home of its own.

For the embedded database, while the service runs. The database is copied first, then the films that it names, each
read and checked: so the backup lacks only films that were deleted meanwhile, and holds no film without its row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from shared import private_files
from shared.db.engine import Database, make_engine, sqlite_file
from shared.db.film_folder import MARK
from shared.db.job_films import list_films
from shared.errors import BlobMissing, DatabaseDown, InvalidRequest, NotFound, StorageDown
from shared.settings import Settings
from shared.storage.local import LocalBlobs

SECRETS: Final = ("api-key", "session-secret")
DATABASE: Final = "plainfilm.db"
SQLITE: Final = "sqlite:///"


@dataclass(slots=True)
class Backup:
    """The outcome of a backup: the number of films copied, and the ids of jobs whose films could not be."""

    films: int = 0
    missing_jobs: list[str] = field(default_factory=list)


def back_up(settings: Settings, folder: Path, say: Callable[[str], None]) -> Backup:
    """Write a backup of this home to `folder`, which becomes a home: `PLAINFILM_HOME=<folder> plainfilm up`.

    Raises:
        InvalidRequest: the folder is not empty, or the database is no file of SQLite's.
        NotFound: there is no database.
        DatabaseDown: the database cannot be read, or its copy cannot be written.
        StorageFull, StorageDown: the films cannot be written.
    """
    source = _database_file(settings)
    if folder.resolve().is_relative_to(settings.blobs.resolve()):
        raise InvalidRequest("A backup cannot lie among the films that it copies; name another folder.")
    _make_folder(folder)
    _copy_database(source, folder / DATABASE)
    say(f"database: {folder / DATABASE}")
    for name in (*SECRETS, f"{settings.blobs.name}/{MARK}"):
        _copy_secret(settings.home / name, folder / name)
    return _copy_films(LocalBlobs(settings.blobs), folder, settings.blobs.name)


def _database_file(settings: Settings) -> Path:
    file = sqlite_file(settings.sql_url)
    if file is None:
        raise InvalidRequest(
            "The database is PostgreSQL: dump it by its own tools (pg_dump) first, and copy the folder of films after "
            "that; in the other order films could be missing."
        )
    if not file.is_file():
        raise NotFound(f"No database in {settings.home}; set PLAINFILM_HOME.")
    return file


def _make_folder(folder: Path) -> None:
    try:
        private_files.make_folder(folder)
        if any(folder.iterdir()):
            raise InvalidRequest(f"{folder} is not empty; name a folder that is, or is not there.")
    except OSError as error:
        raise InvalidRequest(f"{folder} cannot be made or written to: {error.strerror}.") from error


def _copy_database(source: Path, target: Path) -> None:
    """Copy one snapshot without its free pages, which hold deleted rows; writers are not blocked meanwhile."""
    try:
        with closing(sqlite3.connect(source, timeout=60)) as database:
            database.execute("VACUUM INTO ?", (str(target),))
        target.chmod(0o600)
        private_files.sync(target)
    except (sqlite3.Error, OSError) as error:
        raise DatabaseDown(f"The database could not be copied: {error}.") from error


def _copy_secret(source: Path, target: Path) -> None:
    if source.is_file():
        private_files.make_folder(target.parent)
        private_files.write(target, source.read_text(encoding="utf-8"))


def _copy_films(films: LocalBlobs, folder: Path, name: str) -> Backup:
    """Copy the films that the copied database names; each is read and checked."""
    backup, copies = Backup(), LocalBlobs(folder / name)
    database = Database(make_engine(f"{SQLITE}{quote(str(folder / DATABASE))}"))
    try:
        for _, ref in list_films(database):
            tenant, job_id, digest = ref.split("/")
            try:
                data = films.get(ref)
            except (BlobMissing, StorageDown):
                backup.missing_jobs.append(job_id)
                continue
            copies.put(tenant, job_id, data, digest)
            backup.films += 1
    finally:
        database.close()
        for suffix in ("-wal", "-shm"):
            (folder / f"{DATABASE}{suffix}").unlink(missing_ok=True)
    return backup
