"""`plainfilm classify FILE...`: send films, those of folders and ZIPs too, wait, print a table or a JSON line each."""

from __future__ import annotations

import json
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
from shared.packed import Packed, films_in

IN_FLIGHT = 32
"""Films submitted ahead of the answer awaited: enough to keep several workers in full batches."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one film; `kind` says what `name` names: a 'file', say."""

    name: str
    job: wire.Job | None
    error: str | None
    kind: str = "file"

    def as_json(self) -> str:
        """One line: what it is called; `job_id` where it became a job; what its result says, or `error`."""
        line: dict[str, object] = {self.kind: self.name}
        if self.job is not None:
            line["job_id"] = self.job.id
            line |= {"batch_id": self.job.batch_id} if self.job.batch_id else {}
            if self.job.result is not None:
                told = {"verdict", "probabilities", "other_probability", "prediction_set", "reasons"}
                line |= self.job.result.model_dump(include=told)
        if self.error is not None:
            line["error"] = self.error
        return json.dumps(line, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Unsent:
    """A file in which no film was found, and why."""

    path: Path
    error: str

    def __str__(self) -> str:
        """Its path."""
        return str(self.path)


Source = Path | Packed | Unsent


def classify(client: Client, files: Sequence[Source], priority: str, batch_id: str | None = None) -> Iterator[Answer]:
    """Answers in the order of `files`; a refused file is an answer with its error."""
    return in_flight(client, ((_name(source), _submit(client, source, priority, batch_id)) for source in files))


def in_flight(client: Client, sent: Iterator[tuple[str, wire.Job | str]]) -> Iterator[Answer]:
    """The answers to what is sent, in its order, while as much as may is sent ahead.

    Args:
        sent: the name of each film and its job, or why there is none; the next is sent when it is asked for.
    """
    ahead: deque[tuple[str, wire.Job | str]] = deque()
    for each in sent:
        ahead.append(each)
        if len(ahead) == IN_FLIGHT:
            yield _await(client, *ahead.popleft())
    while ahead:
        yield _await(client, *ahead.popleft())


def run(client: Client, files: Sequence[Path], *, as_json: bool, priority: str, as_batch: bool = False) -> int:
    """Classify and print; the exit status is 1 where any file has an error.

    Args:
        as_batch: send them as one batch, told before the first film and after the last, beside what is printed.
    """
    films = find_films(files)
    console = Console(stderr=True, soft_wrap=True)
    batch = client.make_batch() if as_batch else None
    if batch:
        console.print(f"batch {batch.id}: {client.address_of(batch.links.page)}", highlight=False)
    coming = classify(client, films, priority, batch.id if batch else None)
    answers = show(coming, len(films), console, as_json=as_json)
    if batch:
        sent = sum(not isinstance(film, Unsent) for film in films)
        taken = sum(answer.job is not None for answer in answers)
        console.print(f"batch {batch.id}: {_sum_up(client.get_batch(batch.id), sent, taken)}", highlight=False)
    return 1 if any(answer.error for answer in answers) else 0


def show(coming: Iterator[Answer], total: int, console: Console, *, as_json: bool) -> list[Answer]:
    """All answers, printed: as JSON as each comes, else as a table at the end; on `console` how far it is."""
    answers: list[Answer] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("classifying", total=total)
            for answer in coming:
                answers.append(answer)
                progress.advance(bar)
                if as_json:
                    sys.stdout.write(answer.as_json() + "\n")
                    sys.stdout.flush()
    finally:  # what was answered is told where the service goes away, or somebody has seen enough
        if answers and not as_json:
            Console().print(_table(answers))
            Console().print(wire.NOTICE.capitalize() + ".", style="dim")
    return answers


def find_films(paths: Sequence[Path]) -> list[Source]:
    """Files as they are; of a folder its films by name, of a ZIP in its order; or why there are none."""
    return [film for path in paths for film in _find_films(path)]


def _find_films(path: Path) -> Sequence[Source]:
    if path.suffix.lower() == ".zip" and path.is_file():
        try:
            return films_in(path)
        except RefusedUpload as error:
            return [Unsent(path, error.detail)]
    return (path.is_dir() and _films_in(path)) or [path]


def _films_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and _is_film(path))


def _is_film(path: Path) -> bool:
    try:
        return film_names.is_film(path.name, lambda: path.open("rb"))
    except OSError:
        return False


def _submit(client: Client, source: Source, priority: str, batch_id: str | None) -> wire.Job | str:
    """The job, or why there is none."""
    if isinstance(source, Unsent):
        return source.error
    try:
        return client.submit(source, priority, batch_id)
    except (Refused, RefusedUpload) as error:
        return error.detail
    except IsADirectoryError:
        return "The folder has no PNG, JPEG or DICOM film in it; folders in folders are not looked into."
    except OSError as error:
        return f"The file cannot be read: {error.strerror or type(error).__name__}."


def _sum_up(batch: wire.Batch, sent: int, taken: int) -> str:
    """'12 films, 10 succeeded, 2 not taken'; those that were not taken are in no batch, those deleted no more."""
    beside = {"deleted": taken - batch.total, "not taken": sent - taken}
    told = [f"{number} {name}" for name, number in (*batch.counts.items(), *beside.items()) if number > 0]
    return ", ".join([f"{sent} films", *told])


def _await(client: Client, name: str, sent: wire.Job | str) -> Answer:
    if isinstance(sent, str):
        return Answer(name, None, sent)
    try:
        job = client.wait(sent.id)
    except Refused as error:
        if error.problem_code != JobDeleted.code:
            raise
        return Answer(name, sent, error.detail)  # by somebody else, meanwhile
    if job.result is not None:
        return Answer(name, job, None)
    return Answer(name, job, job.error.detail if job.error else f"The job is {job.status.value}.")


def _name(source: Source) -> str:
    """As a text that can be printed: a file's name may have bytes that are none."""
    return str(source).encode("utf-8", "replace").decode("utf-8")


def _table(answers: Sequence[Answer]) -> Table:
    """Fits 80 columns, and cuts nothing: what is too long is folded."""
    table = Table(Column("film and job", min_width=36, overflow="fold"), Column("verdict", overflow="fold"))
    for answer in answers:
        # a file may be named like a style: escape shows it as it is
        table.add_row(f"{escape(Path(answer.name).name)}\n{answer.job.id if answer.job else ''}", _told(answer))
    return table


def _told(answer: Answer) -> str:
    """Verdict, probabilities, prediction set and reasons, a line each; or what went wrong."""
    result = answer.job.result if answer.job else None
    if result is None:
        return f"[red]error[/red]\n{escape(answer.error or '')}"
    leading = sorted(result.probabilities.items(), key=lambda item: -item[1])
    lines = [f"[bold]{result.verdict}[/bold]", "  ".join(f"{label} {share:.0%}" for label, share in leading)]
    if result.other_probability is not None:
        lines.append(f"another finding {result.other_probability:.0%}")
    lines.append(f"set: {', '.join(result.prediction_set) or 'empty'}")
    if result.reasons:
        lines.append(f"reasons: {', '.join(result.reasons)}")
    return "\n".join(lines)
