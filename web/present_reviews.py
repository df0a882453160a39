"""How reviews read on a page: what readers said of a film in words, and the mark of a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from shared import wire
from shared.domain import ReaderLabel
from web.agreement import LEAST_FILMS
from web.present import name_label

MARKS: Final[Mapping[str, str]] = MappingProxyType(
    {"agreed": "Reader agrees", "disagreed": "Reader disagrees", "reviewed": "Reviewed"}
)


def mark_reviews(found: Sequence[wire.Review]) -> str:
    """The mark of a film that was reviewed: 'disagreed' where any reader does; 'reviewed' where there is no verdict."""
    agreed = {each.agrees for each in found}
    return "disagreed" if False in agreed else "agreed" if True in agreed else "reviewed"


def name_mark(mark: str) -> str:
    """'agreed' -> 'Reader agrees'."""
    return MARKS[mark]


def describe_reviews(found: Sequence[wire.Review]) -> str:
    """'2 of 3 readers agree with the verdict. Seen: Normal (2), Other finding (1).'."""
    count, agreed = len(found), sum(each.agrees is True for each in found)
    readers = f"{count} {'reader' if count == 1 else 'readers'}"
    seen = Counter(each.label for each in found)
    saw = ", ".join(f"{name_label(label)} ({seen[label]})" for label in ReaderLabel if seen[label])
    if any(each.agrees is None for each in found):
        return f"{readers} said what they see: {saw}."
    return f"{agreed} of {readers} {'agrees' if count == 1 else 'agree'} with the verdict. Seen: {saw}."


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType(
    {"mark_reviews": mark_reviews, "name_mark": name_mark, "describe_reviews": describe_reviews}
)
CHOICES: Final[Mapping[str, object]] = MappingProxyType(
    {"READER_LABELS": tuple(ReaderLabel), "LEAST_FILMS": LEAST_FILMS}
)
