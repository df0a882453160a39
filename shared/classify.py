"""`plainfilm classify FILE...`: send films or folders of them, wait for verdicts, print a table or a JSON line each."""

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

from shared import wire
from shared.client import Client, Refused

IN_FLIGHT = 32
"""Films submitted ahead of the answer awaited: enough to keep several workers in full batches."""

FILM_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom"})
DICOM_AT, DICOM = 128, b"DICM"
"""What tells a DICOM film where its name has no suffix; a disc's index, DICOMDIR, begins so too, and is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one file."""

    file: str
    job: wire.Job | None
    error: str | None

    def as_json(self) -> str:
        """One line: `file`; `job_id` where it became a job; what its result says, or `error`."""
        line: dict[str, object] = {"file": self.file}
        if self.job is not None:
            line["job_id"] = self.job.id
            if self.job.result is not None:
                told = {"verdict", "probabilities", "other_probability", "prediction_set", "reasons"}
                line |= self.job.result.model_dump(include=told)
        if self.error is not None:
            line["error"] = self.error
        return json.dumps(line, ensure_ascii=False)


def classify(client: Client, files: Sequence[Path], priority: str) -> Iterator[Answer]:
    """Answers in the order of `files`; a refused file is an answer with its error."""
    submitted: deque[tuple[Path, wire.Job | str]] = deque()
    for path in files:
        submitted.append((path, _submit(client, path, priority)))
        if len(submitted) == IN_FLIGHT:
            yield _await(client, *submitted.popleft())
    while submitted:
        yield _await(client, *submitted.popleft())


def run(client: Client, files: Sequence[Path], *, as_json: bool, priority: str) -> int:
    """Classify and print; the exit status is 1 where any file has an error."""
    answers: list[Answer] = []
    films = find_films(files)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("classifying", total=len(films))
            for answer in classify(client, films, priority):
                answers.append(answer)
                progress.advance(bar)
                if as_json:
                    sys.stdout.write(answer.as_json() + "\n")
                    sys.stdout.flush()
    finally:  # what was answered is told where the service goes away, or somebody has seen enough
        if answers and not as_json:
            Console().print(_table(answers))
            Console().print(wire.NOTICE.capitalize() + ".", style="dim")
    return 1 if any(answer.error for answer in answers) else 0


def find_films(paths: Sequence[Path]) -> list[Path]:
    """Files as they are; of a folder its films by name, or itself where it has none, which is then told."""
    return [film for path in paths for film in (path.is_dir() and _films_in(path)) or [path]]


def _films_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and _is_film(path))


def _is_film(path: Path) -> bool:
    """By its suffix; where it has none, by what a DICOM begins with."""
    if path.suffix or path.name.upper() == "DICOMDIR":
        return path.suffix.lower() in FILM_SUFFIXES
    try:
        with path.open("rb") as file:
            return file.read(DICOM_AT + len(DICOM)).endswith(DICOM)
    except OSError:
        return False


def _submit(client: Client, path: Path, priority: str) -> wire.Job | str:
    """The job, or why there is none."""
    try:
        return client.submit(path, priority)
    except Refused as error:
        return error.detail
    except IsADirectoryError:
        return "The folder has no PNG, JPEG or DICOM film in it; folders in folders are not looked into."
    except OSError as error:
        return f"The file cannot be read: {error.strerror or type(error).__name__}."


def _await(client: Client, path: Path, sent: wire.Job | str) -> Answer:
    if isinstance(sent, str):
        return Answer(str(path), None, sent)
    job = client.wait(sent.id)
    if job.result is not None:
        return Answer(str(path), job, None)
    return Answer(str(path), job, job.error.detail if job.error else f"The job is {job.status.value}.")


def _table(answers: Sequence[Answer]) -> Table:
    """Fits 80 columns, and cuts nothing: what is too long is folded."""
    table = Table(Column("file and job", min_width=36, overflow="fold"), Column("verdict", overflow="fold"))
    for answer in answers:
        # a file may be named like a style: escape shows it as it is
        table.add_row(f"{escape(Path(answer.file).name)}\n{answer.job.id if answer.job else ''}", _told(answer))
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
