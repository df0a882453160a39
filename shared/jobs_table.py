"""Jobs as tables for a terminal, 80 columns wide: a list of jobs, one job in detail, a result as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from rich.markup import escape
from rich.table import Column, Table

from shared import wire


def make_list(jobs: Iterable[wire.Job]) -> Table:
    """Return a table with a row for each job: id, time of submission in UTC, and verdict or status."""
    columns = (Column("job", min_width=36), Column("made (UTC)", min_width=16), Column("outcome", overflow="fold"))
    table = Table(*columns, box=None, pad_edge=False)
    for job in jobs:
        table.add_row(job.id, f"{job.created_at:%Y-%m-%d %H:%M}", _outcome(job))
    return table


def make_details(job: wire.Job, address_of: Callable[[str], str]) -> Table:
    """Return a table with a row for each known fact of a job.

    Args:
        address_of: makes a URL of a path of the service.
    """
    table = Table(Column(style="dim"), Column(overflow="fold"), box=None, pad_edge=False, show_header=False)
    for name, value in _facts(job):
        table.add_row(name, value)
    table.add_row("page", escape(address_of(job.links.page)))
    return table


def result_lines(result: wire.Result) -> list[str]:
    """Return the verdict, probabilities, prediction set and reasons of a result, as marked-up lines."""
    leading = sorted(result.probabilities.items(), key=lambda item: -item[1])
    lines = [f"[bold]{result.verdict}[/bold]", "  ".join(f"{label} {share:.0%}" for label, share in leading)]
    if result.other_probability is not None:
        lines.append(f"another finding {result.other_probability:.0%}")
    lines.append(f"set: {', '.join(result.prediction_set) or 'empty'}")
    if result.reasons:
        lines.append(f"reasons: {', '.join(result.reasons)}")
    return lines


def _facts(job: wire.Job) -> Iterator[tuple[str, str]]:
    film = job.input
    yield "job", job.id
    yield "status", job.status.value + _wait(job)
    yield "priority", job.priority.value
    yield from _times(job)
    if job.batch_id:
        yield "batch", job.batch_id
    yield "film", f"{film.kind}, {film.width_px} x {film.height_px}, {film.bit_depth} bits, SHA-256 {film.sha256}"
    if job.model:
        yield "model", escape(f"{job.model.name} {job.model.version}, SHA-256 {job.model.sha256}")
    if job.result:
        yield "result", "\n".join(result_lines(job.result))
    if job.error:
        yield "error", f"[red]{job.error.code}[/red]: {escape(job.error.detail)}"


def _wait(job: wire.Job) -> str:
    ahead = "" if job.queue_position is None else f", about {job.queue_position} ahead"
    return ahead if job.eta_s is None else f"{ahead}, result in about {job.eta_s} s"


def _times(job: wire.Job) -> Iterator[tuple[str, str]]:
    moments: tuple[tuple[str, datetime | None], ...] = (
        ("made", job.created_at),
        ("started", job.started_at),
        ("ended", job.finished_at),
        ("expires", None if job.done else job.expires_at),
        ("deleted after", job.retain_until),
    )
    for name, moment in moments:
        if moment:
            yield name, f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _outcome(job: wire.Job) -> str:
    """Return the verdict with its label's share, or without a result the status, with the code of an error."""
    if job.result is None:
        return f"[red]{job.status.value}: {job.error.code}[/red]" if job.error else job.status.value
    share = job.result.probabilities.get(job.result.verdict)
    return f"{job.result.verdict}" if share is None else f"{job.result.verdict} {share:.0%}"
