"""What a report says of its films holds of these films."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shared.manifest import Rate, SplitMetrics
from shared.model_report import Sets, Source, SplitReport
from training.dataset import Example
from training.recipes import find_recipe
from training.report.measured import _split
from training.report.statements import list_limits

RATE = Rate(value=1, n=1, low=0.2, high=1)


@pytest.mark.parametrize(("pool", "is_told"), [("vp", True), ("ward 3", False), ("", False)])
def test_limits_of_the_studys_films_are_told_of_no_other(pool: str, *, is_told: bool) -> None:
    """That all viral pneumonia is of children at one hospital, and that the splits were looked at before."""
    film = Example(Path("a.png"), "viral_pneumonia", "g", "train", pool, "films.csv line 2")
    limits = " ".join(list_limits(find_recipe("seed2020"), [film]))
    assert ("every film with that label comes from there" in limits) == is_told
    assert ("were evaluated several times" in limits) == is_told
    assert "A heatmap shows" in limits
    assert list_limits(replace(find_recipe("tiny"), drawn_films=4), [film]) == list_limits(find_recipe("tiny"), [])


@pytest.mark.parametrize(
    ("name", "pool", "is_told"), [("test", "covA", True), ("test", "", False), ("validation", "ward 3", True)]
)
def test_a_split_is_described_only_where_its_sources_are_known(name: str, pool: str, *, is_told: bool) -> None:
    """Another hospital's test films are not the study's, though the split has the same name."""
    split = SplitReport(
        metrics=SplitMetrics(n=1, coverage=RATE),
        groups=1,
        estimates={},
        roc_auc={},
        by_label={},
        sources=[Source(source=pool, label="covid19", recall=None, coverage=RATE)],
        sets=Sets(nominal=0.9, by_label={}, mean_size=None),
        failures=[],
    )
    told = str(_split(name, split, ("covid19", "normal")).blocks[0])
    assert told.startswith("1 films of 1 groups")
    assert ("held out from the" in told) == is_told
