"""`plainfilm classify FILE...`: send films, also from folders and ZIPs, wait, print a table or a JSON line each."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

from shared import film_names, wire
from shared.client import Client, Refused
from shared.errors import JobDeleted, RefusedUpload
from shared.jobs_table import result_lines
from shared.packed import Packed, films_in

IN_FLIGHT = 32
"""Films submitted ahead of the one awaited: enough to keep several workers in full batches."""


@dataclass(frozen=True, slots=True)
class FilmOutcome:
    """The outcome of one film: its job, or an error, or both; `kind` says what `name` names, such as a 'file'."""

    name: str
    job: wire.Job | None
    error: str | None
    kind: str = "file"

    def as_json(self) -> str:
        """Return one line of JSON: the name, `job_id` where there is a job, and the result's fields or `error`."""
        line: dict[str, object] = {self.kind: self.name}
        if self.job is not None:
            line["job_id"] = self.job.id
            line |= {"batch_id": self.job.batch_id} if self.job.batch_id else {}
            if self.job.result is not None:
                fields = {"verdict", "probabilities", "other_probability", "prediction_set", "reasons"}
                line |= self.job.result.model_dump(include=fields)
        if self.error is not None:
            line["error"] = self.error
        return json.dumps(line, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Unsent:
    """A file in which no film was found, and why."""

    path: Path
    error: str

    def __str__(self) -> str:
        """Return the file's path."""
        return str(self.path)


Source = Path | Packed | Unsent


def classify(
    client: Client, files: Sequence[Source], priority: str, batch_id: str | None = None
) -> Iterator[FilmOutcome]:
    """Yield the outcomes in the order of `files`; a refused file gives an outcome with its error."""
    return in_flight(client, ((_name(source), _submit(client, source, priority, batch_id)) for source in files))


def in_flight(client: Client, submissions: Iterator[tuple[str, wire.Job | str]]) -> Iterator[FilmOutcome]:
    """Yield the outcomes of submissions in their order, with up to `IN_FLIGHT` films submitted ahead.

    Args:
        submissions: each film's name, and its job or why there is none; taking the next one submits it.
    """
    ahead: deque[tuple[str, wire.Job | str]] = deque()
    for submission in submissions:
        ahead.append(submission)
        if len(ahead) == IN_FLIGHT:
            yield _await(client, *ahead.popleft())
    while ahead:
        yield _await(client, *ahead.popleft())


def run(client: Client, files: Sequence[Path], *, as_json: bool, priority: str, as_batch: bool = False) -> int:
    """Classify and print; return the exit status, 1 where any file has an error.

    Args:
        as_batch: send the films as one batch, and print it on stderr before the first film and after the last.
    """
    films = find_films(files)
    console = Console(stderr=True, soft_wrap=True)
    batch = client.make_batch() if as_batch else None
    if batch:
        console.print(f"batch {batch.id}: {client.address_of(batch.links.page)}", highlight=False)
    outcomes = show(
        classify(client, films, priority, batch.id if batch else None), len(films), console, as_json=as_json
    )
    if batch:
        n_sent = sum(not isinstance(film, Unsent) for film in films)
        n_accepted = sum(outcome.job is not None for outcome in outcomes)
        console.print(f"batch {batch.id}: {_sum_up(client.get_batch(batch.id), n_sent, n_accepted)}", highlight=False)
    return 1 if any(outcome.error for outcome in outcomes) else 0


def show(outcomes: Iterator[FilmOutcome], total: int, console: Console, *, as_json: bool) -> list[FilmOutcome]:
    """Print outcomes and return them: as JSON lines as they arrive, else as one table at the end.

    The progress is shown on `console`.
    """
    arrived: list[FilmOutcome] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("classifying", total=total)
            for outcome in outcomes:
                arrived.append(outcome)
                progress.advance(bar)
                if as_json:
                    sys.stdout.write(outcome.as_json() + "\n")
                    sys.stdout.flush()
    finally:  # the outcomes so far are printed also where the service fails or the user interrupts
        if arrived and not as_json:
            Console().print(_table(arrived))
            Console().print(wire.NOTICE.capitalize() + ".", style="dim")
    return arrived


def find_films(paths: Sequence[Path]) -> list[Source]:
    """Return files as they are, a folder's films by name, and a ZIP's in its order; `Unsent` for an unusable ZIP."""
    return [film for path in paths for film in _find_films(path)]


def _find_films(path: Path) -> Sequence[Source]:
    if path.suffix.lower() == ".zip" and path.is_file():
        try:
            return films_in(path)
        except RefusedUpload as error:
            return [Unsent(path, error.detail)]
    return (path.is_dir() and _films_in(path)) or [path]


def _films_in(folder: Path) -> list[Source]:
    """Return the films of a folder and its subfolders by name, then each folder that cannot be read."""
    unread: list[Source] = []

    def note(error: OSError) -> None:
        unread.append(Unsent(Path(error.filename), f"The folder cannot be read: {error.strerror}."))

    paths = [Path(parent, name) for parent, _, names in os.walk(folder, onerror=note) for name in names]
    return [*sorted(path for path in paths if path.is_file() and _is_film(path)), *unread]


def _is_film(path: Path) -> bool:
    try:
        return film_names.is_film(path.name, lambda: path.open("rb"))
    except OSError:
        return False


def _submit(client: Client, source: Source, priority: str, batch_id: str | None) -> wire.Job | str:
    """Return the job, or why there is none."""
    if isinstance(source, Unsent):
        return source.error
    try:
        return client.submit(source, priority, batch_id)
    except (Refused, RefusedUpload) as error:
        return error.detail
    except IsADirectoryError:
        return "The folder contains no PNG, JPEG or DICOM film."
    except OSError as error:
        return f"The file cannot be read: {error.strerror or type(error).__name__}."


def _sum_up(batch: wire.Batch, n_sent: int, n_accepted: int) -> str:
    """Return '12 films, 10 succeeded, 2 not taken', say; the batch does not count refused and deleted films."""
    beside = {"deleted": n_accepted - batch.total, "not taken": n_sent - n_accepted}
    parts = [f"{number} {name}" for name, number in (*batch.counts.items(), *beside.items()) if number > 0]
    return ", ".join([f"{n_sent} films", *parts])


def _await(client: Client, name: str, submission: wire.Job | str) -> FilmOutcome:
    if isinstance(submission, str):
        return FilmOutcome(name, None, submission)
    try:
        job = client.wait(submission.id)
    except Refused as error:
        if error.problem_code != JobDeleted.code:
            raise
        return FilmOutcome(name, submission, error.detail)  # somebody else has deleted the job meanwhile
    if job.result is not None:
        return FilmOutcome(name, job, None)
    return FilmOutcome(name, job, job.error.detail if job.error else f"The job is {job.status.value}.")


def _name(source: Source) -> str:
    """Return the source's name as printable text: a file name may hold bytes that are not UTF-8."""
    return str(source).encode("utf-8", "replace").decode("utf-8")


def _table(outcomes: Sequence[FilmOutcome]) -> Table:
    """Return a table that fits 80 columns and truncates nothing: long cells are folded."""
    table = Table(Column("film and job", min_width=36, overflow="fold"), Column("verdict", overflow="fold"))
    for outcome in outcomes:
        # a file may be named like a style: escape shows it as it is
        names = dict.fromkeys((escape(Path(outcome.name).name), outcome.job.id if outcome.job else ""))
        table.add_row("\n".join(names), _verdict_cell(outcome))
    return table


def _verdict_cell(outcome: FilmOutcome) -> str:
    """Return verdict, probabilities, prediction set and reasons, a line each; or the error."""
    result = outcome.job.result if outcome.job else None
    if result is None:
        return f"[red]error[/red]\n{escape(outcome.error or '')}"
    return "\n".join(result_lines(result))
