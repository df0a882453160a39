"""How a job's audit trail reads on its page: each event as a line of plain words, an unknown action by its code."""

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
        "requeued": "Returned to the queue",
        "succeeded": "Answered",
        "failed": "Failed",
        "cancelled": "Cancelled",
        "expired": "Expired",
        "deleted": "Deleted",
        "reviewed": "Reviewed",
        "explanation_requested": "Heatmap requested",
        "explanation_claimed": "Heatmap started",
        "explanation_requeued": "Heatmap returned to the queue",
        "explained": "Heatmap computed",
        "explanation_failed": "Heatmap failed",
    }
)


@dataclass(frozen=True, slots=True)
class Line:
    """One event of the trail in words; `seq` and `hash` are its place in the chain."""

    at: datetime
    words: str
    actor: str
    seq: int
    hash: str


def describe_trail(trail: AuditTrail, *, is_blind: bool) -> list[Line]:
    """Return all events of one page of the trail as lines.

    Args:
        is_blind: leave out the labels that readers gave, for a reader who has not reviewed the film yet.
    """
    methods = {e.facts["explanation"]: e.facts["method"] for e in trail.events if e.action == "explanation_requested"}
    return [
        Line(event.at, _describe(event, methods, is_blind=is_blind), _name_actor(event), event.seq, event.hash)
        for event in trail.events
    ]


def _describe(event: AuditEvent, methods: Mapping[str, str], *, is_blind: bool) -> str:
    details = _details(event.facts, methods)
    if event.action == "reviewed":
        details = [] if is_blind else [name_label(event.facts["label"])]
    words = ACTIONS.get(event.action, event.action)
    return f"{words}: {', '.join(details)}" if details else words


def _details(facts: Mapping[str, Any], methods: Mapping[str, str]) -> list[str]:
    """Return the facts that a reader is shown, in this order; the others are in the record or for programs."""
    describe: dict[str, Callable[[str], str]] = {
        "explanation": lambda map_id: name_method(methods[map_id]) if map_id in methods else "",
        "verdict": name_label,
        "from_job": lambda _: "from the stored result of the same film",
        "again_of": lambda _: "a repeat classification",
        "error_code": str,
        "why": str,
    }  # fmt: skip
    details = [to_words(facts[name]) for name, to_words in describe.items() if name in facts]
    if facts.get("attempt", 0) > 1:
        details.append(f"attempt {facts['attempt']}")
    return [words for words in details if words]


def _name_actor(event: AuditEvent) -> str:
    """'key:ab12' -> 'key ab12 (uploader)'; without the role if it was not recorded."""
    kind, _, name = event.actor.partition(":")
    role = f" ({event.facts['role']})" if "role" in event.facts else ""
    return f"{kind} {name}{role}" if name else kind


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType({"describe_trail": describe_trail})
