"""Fixed statements of the report: the intended use, the limits, and how the films were split.

The wording is fixed here, so that every model card has it; numbers come from the document alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from training.dataset import Example
from training.recipe import Recipe

INTENDED_USE: Final = (
    "Research on chest film classifiers: how they score, how they fail, when they should abstain. Not a medical "
    "device: no diagnosis, no triage, no screening, no decision about a person."
)

LIMITS: Final = (
    (
        "'Viral pneumonia' means small children of one hospital: every film of that label comes from there, so the "
        "model may tell a child's film as much as a finding."
    ),
    "Adults with viral pneumonia that is not COVID-19 were hardly seen in training and are hardly in any test here.",
    (
        "'Normal' means that a collection says so, not that a person is healthy; 'covid19' is a test's or a paper's "
        "word, and some such films look normal."
    ),
    (
        "In the films learned from, the source goes with the label: the score can lean on how a film was made. The "
        "external split and the controls show how far."
    ),
    (
        "A finding outside the labels has no right label here. The right answer is an abstention, and the model may "
        "name a label all the same."
    ),
    (
        "Probabilities, prediction sets and thresholds were calibrated on films like those learned from. On films of "
        "another hospital they hold less well, and in another mix of labels a probability means something else."
    ),
    (
        "Thresholds belong to this version. Raising the least probability, or lowering the limit for an other finding, "
        "gives fewer verdicts and fewer wrong ones; the forced choice and its accuracy stay as they are."
    ),
    (
        "Recipes were developed over several looks at the splits reported here (DECISIONS.md counts them). Nothing was "
        "chosen by them, yet a set that was never looked at may give less."
    ),
    (
        "On a source that it has never seen, a network may call nearly every normal film sick: see which sources were "
        "left out in turn."
    ),
    "A heatmap shows what moved the score, not where disease is.",
)
DRAWN_LIMITS: Final = ("The films are drawn by a program. Nothing here says anything about X-rays.",)


def list_limits(recipe: Recipe) -> list[str]:
    """Return the limits of models trained by this recipe."""
    return list(DRAWN_LIMITS if recipe.drawn_films else LIMITS)


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
        f"{len(examples)} films in {groups} groups (a patient where the source names them, else films too alike to "
        "tell apart, so that one patient may be in two groups); no group is in two splits, which is checked before "
        "training and again before this report. Learned from: "
        f"{', '.join(recipe.train_splits)}, of which {100 * recipe.validation_share:.0f} % of the groups of each label "
        f"and source were taken out by a seeded draw, to choose {chosen} with. "
        f"Kept apart: {kept}; the run chose nothing by these."
    )
