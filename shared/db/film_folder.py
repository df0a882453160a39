"""The folder of a database's films: a file in it repeats the database's id, so that the two cannot be mixed up.

The first process that stores films marks the folder. From then on a folder without the mark is a wrong one: another
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
UNMARKED: Final = "No web process of this build has opened this database's folder of films yet: start the web process."
OTHER: Final = (
    "The films in PLAINFILM_HOME are those of another database: set PLAINFILM_HOME for this one, or "
    "PLAINFILM_DATABASE_URL to theirs."
)


@dataclass(slots=True)
class FilmFolder:
    """The films' folder of one database, with what this process has read of its mark."""

    root: Path
    database: Database
    _id: str | None = None
    """The database's id, once the folder was opened."""

    def open(self, *, may_mark: bool) -> None:
        """Check the folder's mark against the database, once before films are stored or read.

        Args:
            may_mark: this process stores films, so it marks a folder that has no mark.

        Raises:
            StorageDown: the folder is not this database's, or cannot be read or written.
            DatabaseDown: the database cannot be reached.
        """
        with self.database.begin() as session:
            identity = session.scalars(select(DatabaseIdentity).with_for_update()).one()
            marks = may_mark and identity.marked_at is None
            database_id = identity.id
            mark = run_beside_sql(lambda: self._find(database_id, may_mark=marks), is_sqlite=self.database.is_sqlite)
            if mark is None and identity.marked_at is None:
                raise StorageDown(UNMARKED)
            _compare(mark, identity.id)
            identity.marked_at = identity.marked_at or self.database.now(session)
        self._id = identity.id

    def open_to_look(self) -> None:
        """As `open`, for commands that only read: nothing is written, and a folder without a mark is a wrong one.

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
        """Check that the folder still has its mark; reads no database.

        Raises:
            StorageDown: it has not, or was never opened.
        """
        if self._id is None:
            raise StorageDown("The films' folder is not open yet; try again shortly.")
        _compare(self._read(), self._id)

    def _find(self, database_id: str, *, may_mark: bool) -> str | None:
        """Return the mark, if any; with `may_mark` it is written first where there is none."""
        if may_mark and self._read() is None:
            self._write(database_id)
        return self._read()

    def _read(self) -> str | None:
        try:
            return (self.root / MARK).read_text(encoding="ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise StorageDown("The films' folder in PLAINFILM_HOME cannot be read.") from error

    def _write(self, database_id: str) -> None:
        """Write the mark; it is on disk before the transaction sets `marked_at`."""
        try:
            private_files.make_folder(self.root)
            private_files.write(self.root / MARK, database_id + "\n")
            private_files.sync(self.root)
        except OSError as error:
            raise StorageDown("The films' folder in PLAINFILM_HOME cannot be written to.") from error


def _compare(mark: str | None, database_id: str) -> None:
    if mark != database_id:
        raise StorageDown(ABSENT if mark is None else OTHER)
