"""Turns reviews into the words of a page: the readers' labels of a film, and the mark of a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from shared import wire
from shared.db.keys import Principal
from shared.domain import ReaderLabel, Role
from web.agreement import LEAST_FILMS
from web.present import name_label

MARKS: Final[Mapping[str, str]] = MappingProxyType(
    {"agreed": "Reader agrees", "disagreed": "Reader disagrees", "reviewed": "Reviewed"}
)


def mark_reviews(reviews: Sequence[wire.Review], who: Principal) -> str:
    """Return the mark of a reviewed film: 'disagreed' if any reader disagrees; 'reviewed' if there is no verdict.

    A reviewer sees 'reviewed' alone until it has answered: beside the verdict, more would say what others saw.
    """
    if who.role == Role.REVIEWER and all(each.reader != who.key_id for each in reviews):
        return "reviewed"
    agreed = {each.agrees for each in reviews}
    return "disagreed" if False in agreed else "agreed" if True in agreed else "reviewed"


def name_mark(mark: str) -> str:
    """'agreed' -> 'Reader agrees'."""
    return MARKS[mark]


def describe_reviews(reviews: Sequence[wire.Review]) -> str:
    """'2 of 3 readers agree with the verdict. Seen: Normal (2), Other finding (1).'."""
    count, agreed = len(reviews), sum(each.agrees is True for each in reviews)
    readers = f"{count} {'reader' if count == 1 else 'readers'}"
    counts = Counter(each.label for each in reviews)
    labels = ", ".join(f"{name_label(label)} ({counts[label]})" for label in ReaderLabel if counts[label])
    if any(each.agrees is None for each in reviews):
        return f"{readers} said what they see: {labels}."
    return f"{agreed} of {readers} {'agrees' if count == 1 else 'agree'} with the verdict. Seen: {labels}."


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType(
    {"mark_reviews": mark_reviews, "name_mark": name_mark, "describe_reviews": describe_reviews}
)
CHOICES: Final[Mapping[str, object]] = MappingProxyType(
    {"READER_LABELS": tuple(ReaderLabel), "LEAST_FILMS": LEAST_FILMS}
)
