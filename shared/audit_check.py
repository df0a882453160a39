"""What `plainfilm audit verify` checks: the chain, anchors of it, the rows of all jobs, and on request their films."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sqlalchemy import select

from shared.db import audit, audit_anchors, audit_comparison
from shared.db.audit_anchors import Anchor
from shared.db.engine import Database, lift_time_limit, open_database
from shared.db.film_folder import FilmFolder
from shared.db.job_films import list_films
from shared.db.tables import Job
from shared.errors import BlobMissing, DataProblem, StorageDown
from shared.ports import BlobStore
from shared.settings import Settings
from shared.storage.local import LocalBlobs


def check_all(settings: Settings, anchors: Sequence[Path], *, films: bool, say: Callable[[str], None]) -> bool:
    """Check and say what holds and what does not; stop at the first of chain, anchors and rows that does not hold.

    Args:
        anchors: files with anchors, one JSON object a line among others.
        films: read all stored films too; each that is missing or damaged is said.

    Raises:
        DatabaseDown: the chain cannot be read.
        StorageDown: the films' folder is unavailable or another database's.
        DataProblem, OSError: a file has no anchor, or cannot be read.
    """
    known = [anchor for path in anchors for anchor in read_anchors(path)]
    with open_database(settings) as database:
        return _check_events(database, known, say) and (not films or _check_films(settings, database, say))


def read_anchors(path: Path) -> list[Anchor]:
    """Return the anchors of a file.

    Raises:
        DataProblem: it has none.
        OSError: it cannot be read.
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        found = list(audit_anchors.parse(lines))
    if not found:
        raise DataProblem(f"{path} has no anchor: no line is a JSON object with stream, seq and hash.")
    return found


def find_bad_films(database: Database, blobs: BlobStore) -> Iterator[tuple[str, str | None]]:
    """Yield each job with a stored film, and what is wrong with the film, if anything.

    Raises:
        StorageDown: a film cannot be read now; names its job.
    """
    for job_id, ref in list_films(database):
        try:
            blobs.get(ref, is_last=True)
        except BlobMissing as error:
            with database.read() as session:
                is_there = session.scalar(select(Job.id).where(Job.id == job_id)) is not None
            if is_there:  # it was not deleted meanwhile
                yield job_id, error.detail
            continue
        except StorageDown as error:
            raise StorageDown(f"job {job_id}: {error.detail}", why=error.facts.get("why")) from error
        yield job_id, None


def _check_events(database: Database, anchors: Sequence[Anchor], say: Callable[[str], None]) -> bool:
    with database.read() as session:
        lift_time_limit(session)
        checked, breach = audit.verify(session)
        if breach is not None:
            say(f"broken at {breach.stream} event {breach.seq}: {breach.problem} ({checked} events hold before it)")
            return False
        cut = audit_anchors.find_break(session, anchors)
        if cut is not None:
            say(f"broken at {cut.stream} event {cut.seq}: {cut.problem}")
            return False
        n_held = len(set(anchors))
        held = f", and has {n_held} anchor{'' if n_held == 1 else 's'}" if n_held else ""
        say(f"{checked} events, the chain holds{held}")
        agreed, difference = audit_comparison.compare(session)
    if difference is not None:
        say(f"job {difference.job_id} is not as the chain says: {difference.problem}")
        return False
    say(f"{agreed} jobs, each as the chain says")
    return True


def _check_films(settings: Settings, database: Database, say: Callable[[str], None]) -> bool:
    folder = FilmFolder(settings.blobs, database)
    folder.open_to_look()
    n_films = n_bad = 0
    for job_id, problem in find_bad_films(database, LocalBlobs(settings.blobs, folder.check)):
        n_films += 1
        if problem:
            n_bad += 1
            say(f"job {job_id}: {problem}")
    say(f"{n_films} films, {n_bad} missing or damaged" if n_bad else f"{n_films} films, each as it was stored")
    return n_bad == 0
