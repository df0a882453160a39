"""What one worker serves: which model, and which queues. Films always come before explanations.

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
    """Which queues a worker serves: classes of films, and whether it explains."""

    priorities: tuple[Priority, ...] = tuple(Priority)
    explains: bool = True

    @property
    def queues(self) -> tuple[str, ...]:
        """Their names."""
        return (*(priority.value for priority in self.priorities), *((EXPLAIN_QUEUE,) if self.explains else ()))


def parse_queues(text: str) -> Serving:
    """'routine,stat,explain' to what is served; classes in the order of their rank, explanations after all films.

    Raises:
        InvalidRequest: a name is unknown or none is given.
    """
    known = Serving().queues
    named = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(named.difference(known))
    if unknown or not named:
        raise InvalidRequest(f"Unknown queue {', '.join(unknown) or '(none)'}; known are {', '.join(known)}.")
    return Serving(tuple(priority for priority in Priority if priority.value in named), EXPLAIN_QUEUE in named)


def model_folder(settings: Settings) -> Path:
    """The set model, else the shipped one."""
    return settings.model_dir or SHIPPED_MODEL
