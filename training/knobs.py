"""Validates the values of a recipe's knobs; `splits.find_examples` calls it before it looks for films."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from shared.domain import ABSTENTIONS, Verdict
from training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Range:
    """An interval of finite numbers from `low` to `high`; an open end does not belong to it."""

    low: float
    high: float
    is_low_open: bool = False
    is_high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.is_low_open else value >= self.low
        return isfinite(value) and above and (value < self.high if self.is_high_open else value <= self.high)

    def __str__(self) -> str:
        low = f"more than {self.low:g}" if self.is_low_open else f"at least {self.low:g}"
        if self.high == inf:
            return low
        return f"{low} and {'less than' if self.is_high_open else 'at most'} {self.high:g}"


AT_LEAST_ONE: Final = Range(1, inf)
NOT_NEGATIVE: Final = Range(0, inf)
SHARE: Final = Range(0, 1)
BELOW_ONE: Final = Range(0, 1, is_high_open=True)
INNER_SHARE: Final = Range(0, 1, is_low_open=True, is_high_open=True)
SOME_SHARE: Final = Range(0, 1, is_low_open=True)

RANGES: Final[Mapping[str, Range]] = MappingProxyType({
    "epochs": AT_LEAST_ONE, "batch": AT_LEAST_ONE, "copies": NOT_NEGATIVE, "calibration_copies": NOT_NEGATIVE,
    "drawn_films": NOT_NEGATIVE, "seed": NOT_NEGATIVE, "learning_rate": Range(0, inf, is_low_open=True),
    "weight_decay": NOT_NEGATIVE, "label_smoothing": BELOW_ONE, "validation_share": INNER_SHARE,
    "coverage": SOME_SHARE, "set_coverage": INNER_SHARE, "gate_pass": SOME_SHARE, "other_verdicts": SHARE,
    "augmentation.flip_share": SHARE, "augmentation.crop": Range(0, 0.9), "augmentation.rotate_degrees": Range(0, 45),
    "augmentation.resample_share": SHARE, "augmentation.blur_px": NOT_NEGATIVE, "augmentation.sharpen": NOT_NEGATIVE,
    "augmentation.gamma": AT_LEAST_ONE, "augmentation.contrast": BELOW_ONE, "augmentation.noise": NOT_NEGATIVE,
    "augmentation.framed_share": SHARE,
})  # fmt: skip


def knob_problems(recipe: Recipe) -> Iterator[str]:
    """Yield a sentence, with the recipe's name, for each knob whose value is out of range."""
    of = f"The recipe '{recipe.name}'"
    for name, allowed in RANGES.items():
        if (value := attrgetter(name)(recipe)) not in allowed:
            yield f"{of} has {name} {value}; it must be {allowed}."
    for name, (low, high) in (
        ("jpeg_quality", recipe.augmentation.jpeg_quality),
        ("resample_px", recipe.augmentation.resample_px),
    ):
        if not 0 <= low <= high:
            yield f"{of} has augmentation.{name} from {low} to {high}; the first must not be the larger."
    for pool, share in recipe.pool_shares.items():
        if share not in NOT_NEGATIVE:
            yield f"{of} has pool_shares {share} for {pool}; it must be {NOT_NEGATIVE}."
    yield from _label_problems(recipe, of)
    yield from _split_problems(recipe, of)


def _label_problems(recipe: Recipe, of: str) -> Iterator[str]:
    if len(set(recipe.labels)) != len(recipe.labels) or len(recipe.labels) < 2:  # noqa: PLR2004 - two to tell apart
        yield f"{of} has the labels {', '.join(recipe.labels)}; it needs two or more, each once."
    for label in recipe.labels:
        if label not in set(Verdict) - ABSTENTIONS:
            yield f"{of} has the label '{label}', which is no verdict of this service."


def _split_problems(recipe: Recipe, of: str) -> Iterator[str]:
    """Yield a sentence where no split is trained on, and for each split both trained on and reported."""
    if not recipe.train_splits:
        yield f"{of} learns from no split; name one in train_splits."
    for split in recipe.train_splits:
        if split in recipe.report_splits:
            yield f"{of} learns from split '{split}' and would be measured on it."
