"""What a model says of films, written by hand: evidence and assessment without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shared.domain import Assessment, Evidence, Verdict
from training.dataset import Example
from training.evaluate import Answers
from training.recipe import LABELS


def tell(
    probabilities: Sequence[float], *, has_verdict: bool, sets: tuple[str, ...] = ()
) -> tuple[Evidence, Assessment]:
    """One film: its most probable label is the verdict, or it is 'uncertain'."""
    scores = np.array(probabilities, np.float32)
    seen = Evidence(scores, 0.25, -1.5, 2.0, 0.2, 1.0, was_inverted=False)
    by_label = dict(zip(LABELS, map(float, scores), strict=True))
    verdict = Verdict(LABELS[int(scores.argmax())]) if has_verdict else Verdict.UNCERTAIN
    reasons = () if has_verdict else ("low_probability", "ambiguous_set")
    return seen, Assessment(verdict, by_label, sets, reasons)


def make_example(number: int, label: str, pool: str = "a") -> Example:
    """A film of the split 'test' below /films."""
    return Example(Path(f"/films/images/f{number}.png"), label, f"g{number}", "test", pool, "row")


def make_answers(*films: tuple[str, str, Sequence[float], bool, tuple[str, ...]]) -> Answers:
    """(label, pool, probabilities, has a verdict, prediction set) of each film."""
    told = [tell(scores, has_verdict=has_verdict, sets=sets) for _, _, scores, has_verdict, sets in films]
    examples = tuple(make_example(number, label, pool) for number, (label, pool, *_) in enumerate(films))
    return Answers(examples, tuple(seen for seen, _ in told), tuple(said for _, said in told))
