"""Formats the document's numbers for the model card and report.html: shares, intervals, names, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from shared.manifest import Rate
from shared.model_report import Control, Estimate, Goal, SplitReport

NOTHING: Final = "-"
NEARLY_ONE: Final = 0.9995
"""From here on, three decimals would round to 1, a certainty that no model has."""


LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "covid19": "COVID-19",
        "normal": "normal",
        "viral_pneumonia": "viral pneumonia",
        "other_pneumonia": "other pneumonia",
        "tuberculosis": "tuberculosis",
        "not_assessable": "not assessable",
    }
)
ESTIMATES: Final[Mapping[str, str]] = MappingProxyType(
    {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1", "ece15": "expected calibration error, 15 bins"}
)
CONTROLS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "lungs_blacked_out": "lungs blacked out",
        "border_only": "border only",
        "thumbnail_16": "16 x 16 thumbnail",
        "metadata_only": "metadata only",
    }
)
SPLITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "test": "held out from the study's collection, in its mix: COVID-19 films of adults, all others of children",
        "test_adult": (
            "adults only, so that age does not give the label away, though the hospitals differ; neither source names "
            "patients, so some COVID-19 films may be of patients who also have training films"
        ),
        "external": (
            "collections not used for training, some films with findings outside the labels; some of the collections "
            "share a hospital with training films"
        ),
        "ood": "findings for which none of the labels is correct: any label they are given is wrong",
        "validation": "held out from the training films for model selection and calibration; not a test set",
    }
)
SOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "covA": "COVID-19 from papers and many sites (ieee8023, CXNet, SIRM and others, by the Radiography Database)",
        "covB": "COVID-19 of the same database's later part (BIMCV), adults",
        "normP": "normal films of young children, one hospital (Kermany)",
        "normA": "normal films, mostly of adults (RSNA, from NIH ChestX-ray)",
        "vp": "viral pneumonia of young children, at the hospital of `normP` (Kermany)",
        "x_kermany_test": "test films from the hospital of `normP` and `vp` (Kermany)",
        "x_nih": "NIH ChestX-ray, with labels extracted from reports by software",
        "x_hannover": "COVID-19, Hannover",
        "x_actualmed": "Actualmed COVID-19 collection",
        "x_figure1": "Figure 1 COVID-19 collection",
        "x_ieee8023": "findings other than COVID-19 of the ieee8023 collection",
        "x_kermany_bacteria": "bacterial pneumonia of young children (Kermany)",
        "x_tb": "tuberculosis, origin not stated",
    }
)
"""Descriptions of the pools of films that shipped models are measured on."""
REACHED: Final[Mapping[bool | None, str]] = MappingProxyType({True: "yes", False: "no", None: "not measured"})


def label(code: str) -> str:
    """Return a label's name: 'covid19' -> 'COVID-19'; an unknown code stays as it is."""
    return LABELS.get(code, code)


def source(name: str) -> str:
    """Return a pool's name, or 'not stated'."""
    return name or "not stated"


def share(rate: Rate | None) -> str:
    """Return '96.1 %', or a dash where no film was counted."""
    return NOTHING if rate is None or not rate.n else f"{100 * rate.value:.1f} %"


def share_ends(rate: Rate | None) -> str:
    """Return '94.4-97.3': the interval in per cent."""
    return NOTHING if rate is None or not rate.n else f"{100 * rate.low:.1f}-{100 * rate.high:.1f}"


def share_with_ends(rate: Rate | None) -> str:
    """Return '96.1 % (94.4-97.3)'."""
    return NOTHING if rate is None or not rate.n else f"{share(rate)} ({share_ends(rate)})"


def count(films: int | None) -> str:
    """Return '1234', or a dash."""
    return NOTHING if films is None else str(films)


def number(estimate: Estimate | None) -> str:
    """Return '0.961 (0.944-0.973)', or a dash."""
    return NOTHING if estimate is None else f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"


def goal_words(goal: Goal) -> str:
    """Return 'at least 0.97'."""
    return f"{goal.goal} {goal.limit:g}"


def rates(split: SplitReport) -> list[tuple[str, Rate]]:
    """Return every share measured on a split, with its name in words."""
    metrics = split.metrics
    named = [
        ("accuracy of the forced choice", metrics.accuracy),
        ("given a verdict (coverage)", metrics.coverage),
        *((f"given a verdict, of {label(name)}", rate) for name, rate in metrics.coverage_by_label.items()),
        ("correct, of the verdicts given to films with one of the labels", metrics.selective_accuracy),
        ("correct, of all verdicts given", metrics.verdict_precision),
        *((f"prediction set contains {label(name)}", rate) for name, rate in split.sets.by_label.items()),
    ]
    return [(words, rate) for words, rate in named if rate is not None and rate.n]


def estimates(split: SplitReport) -> list[tuple[str, Estimate]]:
    """Return every other measure of a split, with its name in words."""
    named = [(ESTIMATES.get(name, name), value) for name, value in split.estimates.items()]
    return named + [(f"ROC AUC, {label(name)} against the rest", v) for name, v in split.roc_auc.items()]


def probability(value: float) -> str:
    """Return '0.973'; never a rounded 1."""
    return "> 0.999" if NEARLY_ONE < value < 1 else f"{value:.3f}"


def control_sentences(controls: Sequence[Control]) -> list[str]:
    """Return a sentence for each control that comes near the model: on which splits, and what follows."""
    near: dict[str, list[str]] = {}
    for control in controls:
        if control.is_near:
            pair = f"{control.balanced_accuracy.value:.3f}, the model {control.model_balanced_accuracy:.3f}"
            near.setdefault(CONTROLS[control.name], []).append(f"`{control.split}` ({pair})")
    return [
        f"**{name[0].upper()}{name[1:]} comes close to the model** on {' and '.join(places)}: most of the model's "
        "correct answers there can be reached without the relevant part of the film, so its result there does not show "
        "that it uses the lungs."
        for name, places in near.items()
    ]
