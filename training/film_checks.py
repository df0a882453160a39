"""Checks of labelled films that hold before training or measuring starts: leaks, repeats, empty classes, broken files.

A `..._problems` function yields one sentence for each problem; its `check_...` twin raises one `DataProblem` with all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from shared.errors import RefusedUpload
from training.dataset import Example, ReadFilm, read_film, refuse, sha256_or_none


def group_problems(examples: Iterable[Example]) -> Iterator[str]:
    """Yield a sentence for each row whose group or film contradicts an earlier row, which it names.

    A group must not be in two splits (a group leak), nor a film. A film under two labels or in two groups is a problem
    too. Two rows are of one film where they name the same file, by whatever path or link.
    """
    groups: dict[str, Example] = {}
    films: dict[Path, Example] = {}
    for example in examples:
        same_group = groups.setdefault(example.group, example)
        same_film = films.setdefault(example.path.resolve(), example)
        problem = _contradiction(example, same_group, same_film)
        if problem:
            yield f"{example.where}: {problem}"


def _contradiction(example: Example, same_group: Example, same_film: Example) -> str | None:
    """Return how a row contradicts the first row of its group or the first row of its film; None where it does not."""
    film = f"the film {example.path.name}"
    for name, first in ((f"group {example.group}", same_group), (film, same_film)):
        if first.split != example.split:
            return f"{name} is in split '{example.split}' but in '{first.split}' at {first.where}."
    if same_film.label != example.label:
        return f"{film} is '{example.label}' but '{same_film.label}' at {same_film.where}."
    if same_film.group != example.group:
        return f"{film} is in group {example.group} but in {same_film.group} at {same_film.where}."
    return None


def check_groups(examples: Iterable[Example]) -> None:
    """Check that no group is in two splits.

    Raises:
        DataProblem: naming each such group and both rows.
    """
    refuse(list(group_problems(examples)))


def repeat_problems(examples: Iterable[Example]) -> Iterator[str]:
    """Yield a sentence for each row whose film, by whatever path or link, has a row already: it would count twice."""
    films: dict[Path, Example] = {}
    for example in examples:
        first = films.setdefault(example.path.resolve(), example)
        if first is not example:
            label = "" if first.label == example.label else f", as '{first.label}' and not '{example.label}'"
            yield f"{example.where}: the film {example.path.name} has a row already at {first.where}{label}."


def twin_problems(examples: Iterable[Example]) -> Iterator[str]:
    """Yield a sentence for each row whose film equals an earlier one byte for byte, but has another label or group.

    One of the labels is wrong; in two groups, one film could be learned from and the other choose the epoch.
    """
    firsts: dict[str, Example] = {}
    for example in examples:
        digest = sha256_or_none(example.path)
        first = firsts.setdefault(digest, example) if digest else example
        same = f"{example.where}: the film {example.path.name} is byte for byte {first.path.name} at {first.where}"
        if example.path.resolve() == first.path.resolve():  # one file in two rows: see `group_problems`
            continue
        if first.label != example.label:
            yield f"{same}, but '{example.label}' and not '{first.label}'."
        elif first.group != example.group:
            yield f"{same}, but in group {example.group} and not {first.group}."


def check_once(examples: Iterable[Example]) -> None:
    """Check that each film has one row.

    Raises:
        DataProblem: naming each further row of a film, and its first.
    """
    refuse(list(repeat_problems(examples)))


def label_problems(examples: Iterable[Example], labels: Sequence[str], name: str) -> Iterator[str]:
    """Return a sentence for each label without a film; `name` says among which films it was looked for."""
    counts = Counter(example.label for example in examples)
    return (f"{name}: the class '{label}' has no film." for label in labels if not counts[label])


def check_labels(examples: Iterable[Example], labels: Sequence[str], name: str) -> None:
    """Check that each label has at least one film.

    Raises:
        DataProblem: naming the empty classes and the films they were looked for in.
    """
    refuse(list(label_problems(examples, labels, name)))


def check_films(examples: Iterable[Example], read: ReadFilm = read_film) -> None:
    """Check that every film can be read.

    Raises:
        DataProblem: naming each row whose film cannot be read.
    """
    refuse([problem for example in examples if (problem := _film_problem(example, read))])


def _film_problem(example: Example, read: ReadFilm) -> str | None:
    try:
        read(example.path)
    except (OSError, ValueError, RefusedUpload) as error:
        return f"{example.where}: the film {example.path.name} cannot be read: {_reason(error, example.path)}"
    return None


def _reason(error: Exception, path: Path) -> str:
    """Return why a film cannot be read, as a sentence."""
    if isinstance(error, RefusedUpload):
        return error.detail
    if isinstance(error, FileNotFoundError):
        return f"there is no such file in {path.parent}."
    return f"{error.strerror or error.__class__.__name__}." if isinstance(error, OSError) else f"{error}."
