"""Times as the options of commands take them."""

from __future__ import annotations

from datetime import UTC, datetime

import typer


def read_moment(text: str) -> datetime:
    """Return the time in an option's value; without a zone it is in UTC.

    Raises:
        typer.BadParameter: it is no time; says how to write one.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        examples = "2026-11-29, 2026-11-29T08:00 (both in UTC) or 2026-11-29T08:00+01:00"
        raise typer.BadParameter(f"{text!r} is not a time; write it as {examples}.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
