"""Fixed statements of the report: the intended use, the limits, and how the films were split.

The wording is fixed here, so that every model card has it; numbers come from the document alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from training.dataset import Example
from training.recipe import Recipe
from training.report import words

INTENDED_USE: Final = (
    "Research on chest film classifiers: how they score, how they fail, when they should abstain. Not a medical "
    "device: no diagnosis, no triage, no screening, no decision about a person."
)

STUDY_LIMITS: Final = (
    (
        "'Viral pneumonia' means young children at one hospital: every film with that label comes from there, so the "
        "model may recognise a child's film as much as a finding."
    ),
    "Hardly any films of adults with viral pneumonia other than COVID-19 were used in training or in any test here.",
    (
        "While the recipes were developed, the splits reported here were evaluated several times (DECISIONS.md counts "
        "them). Nothing was selected on them, but results on a set never evaluated before may be lower."
    ),
)
"""Limits of models trained on the films that shipped models are trained on."""
OTHER_LIMITS: Final = (
    (
        "This project does not know the sources of these films. In the public collections of the 2020 study, 'viral "
        "pneumonia' means young children at one hospital, and hardly any adult has viral pneumonia but COVID-19."
    ),
)
"""In place of `STUDY_LIMITS`, of models trained on films of other sources, or of sources that no one stated."""
LIMITS: Final = (
    (
        "'Normal' means that a collection labels the film so, not that the person is healthy; 'covid19' comes from a "
        "laboratory test or a paper, and some of these films look normal."
    ),
    (
        "In the training films, source and label are confounded: the score can depend on how a film was acquired. The "
        "external split and the controls show how much."
    ),
    (
        "For a finding outside the labels, no label is correct. The correct answer is an abstention, but the model may "
        "still give a label."
    ),
    (
        "Probabilities, prediction sets and thresholds were calibrated on films like the training films. They are less "
        "reliable on films from another hospital, and probabilities are off where the labels occur in another mix."
    ),
    (
        "The thresholds belong to this version. A higher minimum probability, or a lower limit for another finding, "
        "gives fewer verdicts and fewer wrong ones; the forced choice and its accuracy do not change."
    ),
    (
        "On a source that it has never seen, a network may classify nearly all healthy films as diseased: see the "
        "results with one source left out."
    ),
    "A heatmap shows what moved the score, not where disease is.",
)
STUDY_POOLS: Final = frozenset({*words.SOURCES, "kermany_bacteria", "tb"})
"""Sources that this project describes."""
DRAWN_LIMITS: Final = ("The films are drawn by a program. Nothing here says anything about X-rays.",)


def list_limits(recipe: Recipe, examples: Sequence[Example]) -> list[str]:
    """Return the limits of models trained by this recipe on those of the films that it learns from."""
    if recipe.drawn_films:
        return list(DRAWN_LIMITS)
    pools = {e.pool for e in examples if e.split in recipe.train_splits and e.label in recipe.learned_labels}
    return [*(STUDY_LIMITS if pools <= STUDY_POOLS else OTHER_LIMITS), *LIMITS]


def describe_split(recipe: Recipe, examples: Sequence[Example]) -> str:
    """Return a paragraph on how the films were split; '' where all of them are in one split.

    Called after `check_groups` passed for `examples`.
    """
    splits = {example.split for example in examples}
    if len(splits) < 2:  # noqa: PLR2004 - one split is none
        return ""
    groups = len({example.group for example in examples})
    chosen = f"{'the epoch, ' if recipe.choose == 'best' else ''}the temperature and the thresholds"
    kept = ", ".join(sorted(splits - set(recipe.train_splits)))
    return (
        f"{len(examples)} films in {groups} groups (a group is a patient where the source names patients, otherwise a "
        "set of nearly identical films, so that one patient may be in two groups); no group is in two splits, which is "
        "checked before training and again before this report. Training splits: "
        f"{', '.join(recipe.train_splits)}, of which {100 * recipe.validation_share:.0f} % of the groups of each label "
        f"and source were held out by a seeded draw, to choose {chosen} (validation). "
        f"Test splits: {kept}; nothing was chosen on these in this run."
    )
