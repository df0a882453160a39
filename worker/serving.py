"""The model and the queues that one worker serves. Films always come before explanations.

Imported before a pool child is forked, so without numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared.domain import EXPLAIN_QUEUE, Priority
from shared.errors import InvalidRequest
from shared.settings import Settings
from worker.engine import SHIPPED_MODEL


@dataclass(frozen=True, slots=True)
class Serving:
    """The queues that a worker serves: priorities of films, and whether it makes explanations."""

    priorities: tuple[Priority, ...] = tuple(Priority)
    explains: bool = True

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of the queues."""
        return (*(priority.value for priority in self.priorities), *((EXPLAIN_QUEUE,) if self.explains else ()))


def parse_queues(text: str) -> Serving:
    """Parse names such as 'routine,stat,explain'; priorities are sorted by rank.

    Raises:
        InvalidRequest: a name is unknown, or none is given.
    """
    known = Serving().queues
    named = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(named.difference(known))
    if unknown or not named:
        raise InvalidRequest(f"Unknown queue {', '.join(unknown) or '(none)'}; known are {', '.join(known)}.")
    return Serving(tuple(priority for priority in Priority if priority.value in named), EXPLAIN_QUEUE in named)


def model_folder(settings: Settings) -> Path:
    """Return the model folder of the settings, else that of the shipped model."""
    return settings.model_dir or SHIPPED_MODEL
