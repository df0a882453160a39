"""The folder of a database's films: a file in it repeats the database's id, so that neither is taken for another's.

The first process that stores films marks the folder; from then on a folder without the mark is not this one: another
`PLAINFILM_HOME`, or a volume that is not mounted. The web process opens it to store films, a worker to read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import select

from shared import private_files
from shared.db.engine import Database
from shared.db.tables import DatabaseIdentity
from shared.errors import StorageDown
from shared.greenlets import run_beside_sql

MARK: Final = ".database"
"""Name of the file in the films' folder."""

ABSENT: Final = (
    "The films of this database are not in the folder that PLAINFILM_HOME names: set it to the home of the process "
    "that stores them, or mount its volume."
)
UNMARKED: Final = (
    "No process that stores films has opened this database's folder yet, or none of this build: start the web process."
)
OTHER: Final = (
    "The films in PLAINFILM_HOME are those of another database: set PLAINFILM_HOME for this one, or "
    "PLAINFILM_DATABASE_URL to theirs."
)


@dataclass(slots=True)
class FilmFolder:
    """One database's folder, as one process sees it."""

    root: Path
    database: Database
    _id: str | None = None
    """The database's, once the folder was open."""

    def open(self, *, may_mark: bool) -> None:
        """Once, before films are stored or read; asks the database. `may_mark`: this process stores films.

        Raises:
            StorageDown: the folder is not this database's, or cannot be read or written.
            DatabaseDown: it cannot be asked.
        """
        with self.database.begin() as session:
            identity = session.scalars(select(DatabaseIdentity).with_for_update()).one()
            marks = may_mark and identity.marked_at is None
            own = identity.id
            found = run_beside_sql(lambda: self._find(own, may_mark=marks), is_sqlite=self.database.is_sqlite)
            if found is None and identity.marked_at is None:
                raise StorageDown(UNMARKED)
            _compare(found, identity.id)
            identity.marked_at = identity.marked_at or self.database.now(session)
        self._id = identity.id

    def open_to_look(self) -> None:
        """As `open`, for who reads now and then: nothing is written, a folder without a mark is not this one.

        Raises:
            StorageDown, DatabaseDown: as `open`.
        """
        with self.database.read() as session:
            identity = session.scalars(select(DatabaseIdentity)).one()
            self._id = identity.id
            if identity.marked_at is None and self._read() is None:
                raise StorageDown(UNMARKED)
        self.check()

    def check(self) -> None:
        """Whether it is still there; asks no database.

        Raises:
            StorageDown: it is not, or was never open.
        """
        if self._id is None:
            raise StorageDown("The films' folder is not open yet; try again shortly.")
        _compare(self._read(), self._id)

    def _find(self, own: str, *, may_mark: bool) -> str | None:
        """The mark; made where there is none and that is ours to do."""
        if may_mark and self._read() is None:
            self._write(own)
        return self._read()

    def _read(self) -> str | None:
        try:
            return (self.root / MARK).read_text(encoding="ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise StorageDown("The films' folder in PLAINFILM_HOME cannot be read.") from error

    def _write(self, own: str) -> None:
        """Durable before the row that says so."""
        try:
            private_files.make_folder(self.root)
            private_files.write(self.root / MARK, own + "\n")
            private_files.sync(self.root)
        except OSError as error:
            raise StorageDown("The films' folder in PLAINFILM_HOME cannot be written to.") from error


def _compare(found: str | None, own: str) -> None:
    if found != own:
        raise StorageDown(ABSENT if found is None else OTHER)
