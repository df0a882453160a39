"""Rings that are still to come for films claimed already: most of them, under load, since a batch takes many films.

Such a ring needs no look at the database. Another one for the same film looks again: it may be queued anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MOST: Final = 4096
"""The oldest are forgotten beyond it; their rings cost a look."""


class PendingRings:
    """Ids of films that this process claimed and that have not rung since; safe for threads, as a dict is."""

    def __init__(self) -> None:
        self._films: dict[str, None] = {}

    def expect(self, job_ids: Iterable[str]) -> None:
        """These films have been claimed."""
        self._films.update(dict.fromkeys(job_ids))
        while len(self._films) > MOST:
            self._films.pop(next(iter(self._films)), None)

    def settle(self, job_id: str) -> bool:
        """True, once, for a film that was claimed before it rang."""
        return self._films.pop(job_id, True) is None
