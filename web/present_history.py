"""How a job's audit trail reads on its page: each event in a line of plain words, an unknown action as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from shared.audit_wire import AuditEvent, AuditTrail
from web.present import name_label
from web.present_maps import name_method

ACTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accepted": "Received",
        "claimed": "Taken by a worker",
        "requeued": "Given back",
        "succeeded": "Answered",
        "failed": "Failed",
        "cancelled": "Cancelled",
        "expired": "Expired",
        "deleted": "Deleted",
        "reviewed": "Reviewed",
        "explanation_requested": "Map asked for",
        "explanation_claimed": "Map begun",
        "explanation_requeued": "Map given back",
        "explained": "Map made",
        "explanation_failed": "Map failed",
    }
)


@dataclass(frozen=True, slots=True)
class Line:
    """One event: what happened, by whom, and its place in the chain."""

    at: datetime
    words: str
    actor: str
    seq: int
    hash: str


def tell_history(trail: AuditTrail, *, is_blind: bool) -> list[Line]:
    """All events of a page of the trail.

    Args:
        is_blind: what readers saw in the film is left out, for one who has yet to say so.
    """
    methods = {e.facts["explanation"]: e.facts["method"] for e in trail.events if e.action == "explanation_requested"}
    return [
        Line(event.at, _tell(event, methods, is_blind=is_blind), _name_actor(event), event.seq, event.hash)
        for event in trail.events
    ]


def _tell(event: AuditEvent, methods: Mapping[str, str], *, is_blind: bool) -> str:
    more = _details(event.facts, methods)
    if event.action == "reviewed":
        more = [] if is_blind else [name_label(event.facts["label"])]
    words = ACTIONS.get(event.action, event.action)
    return f"{words}: {', '.join(more)}" if more else words


def _details(facts: Mapping[str, Any], methods: Mapping[str, str]) -> list[str]:
    """What of its facts is told, in this order: the rest is in the record, or of interest to programs."""
    told: dict[str, Callable[[str], str]] = {
        "explanation": lambda found: name_method(methods[found]) if found in methods else "",
        "verdict": name_label,
        "from_job": lambda _: "as the same film was before",
        "again_of": lambda _: "to be classified again",
        "error_code": str,
        "why": str,
    }  # fmt: skip
    found = [say(facts[name]) for name, say in told.items() if name in facts]
    if facts.get("attempt", 0) > 1:
        found.append(f"attempt {facts['attempt']}")
    return [words for words in found if words]


def _name_actor(event: AuditEvent) -> str:
    """'key:ab12' -> 'key ab12 (uploader)', where its role was recorded."""
    kind, _, name = event.actor.partition(":")
    role = f" ({event.facts['role']})" if "role" in event.facts else ""
    return f"{kind} {name}{role}" if name else kind


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType({"tell_history": tell_history})
