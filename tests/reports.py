"""A report on a model, filled by hand: every part there, small round numbers; any field can be changed."""

from __future__ import annotations

from shared.manifest import Rate, SplitMetrics, Thresholds
from shared.model_report import (
    Bin,
    Change,
    Control,
    CrossValidation,
    Epoch,
    Estimate,
    Explanations,
    Failure,
    Fold,
    LabelScores,
    LeftOut,
    ModelReport,
    OddInputs,
    Robustness,
    Sets,
    Source,
    SplitReport,
)
from training.recipe import LABELS
from training.report.goals import judge


def make_rate(value: float, n: int = 100) -> Rate:
    """A share with an interval of 0.05 to each side."""
    return Rate(value=value, n=n, low=max(0.0, value - 0.05), high=min(1.0, value + 0.05))


def make_estimate(value: float, n: int = 100) -> Estimate:
    """Likewise, of what is no share of films."""
    return Estimate(value=value, n=n, low=value - 0.05, high=value + 0.05)


def make_scores() -> dict[str, LabelScores]:
    """Precision, recall and F1 of the three labels."""
    return {
        label: LabelScores(precision=make_rate(0.88, 34), recall=make_rate(0.9, 33), f1=make_estimate(0.89))
        for label in LABELS
    }


def make_split(**changes: object) -> SplitReport:
    """100 films of the three labels, 90 of them right."""
    fields: dict[str, object] = {
        "metrics": SplitMetrics(
            n=100,
            accuracy=make_rate(0.9),
            balanced_accuracy=0.91,
            macro_f1=0.89,
            ece15=0.02,
            recall={label: make_rate(0.9, 30) for label in LABELS},
            coverage=make_rate(0.85),
            coverage_by_label={label: make_rate(0.85, 30) for label in LABELS},
            selective_accuracy=make_rate(0.95, 85),
            confusion=[[30, 2, 1], [3, 31, 1], [2, 1, 29]],
        ),
        "groups": 80,
        "by_label": make_scores(),
        "estimates": {
            "balanced_accuracy": make_estimate(0.91),
            "macro_f1": make_estimate(0.89),
            "ece15": make_estimate(0.02),
        },
        "roc_auc": {label: make_estimate(0.93) for label in LABELS},
        "sources": [
            Source(source="x_hannover", label="covid19", recall=make_rate(0.98, 50), coverage=make_rate(0.9, 50)),
            Source(source="x_nih", label="normal", recall=make_rate(0.84, 50), coverage=make_rate(0.8, 50)),
            Source(source="x_nih", label="other_pneumonia", recall=None, coverage=make_rate(0.3, 20)),
        ],
        "sets": Sets(
            nominal=0.9,
            by_label={"covid19": make_rate(0.91, 30), "normal": make_rate(0.83, 30)},
            mean_size=make_estimate(1.04),
        ),
        "failures": [
            Failure(file="images/x1.png", label="normal", choice="covid19", probability=0.97, verdict="uncertain")
        ],
        "reliability": [
            Bin(probability=0.55, accuracy=make_rate(0.5, 8)),
            Bin(probability=0.97, accuracy=make_rate(0.93, 92)),
        ],
    }
    return SplitReport.model_validate(fields | changes)


def make_report(**changes: object) -> ModelReport:
    """A report with all its parts, its goals judged."""
    fields: dict[str, object] = {
        "name": "plainfilm-test",
        "version": "1",
        "weights_sha256": "0" * 64,
        "labels": LABELS,
        "temperature": 1.25,
        "thresholds": Thresholds(
            min_probability=0.6,
            min_spread=0.01,
            set_quantiles=dict.fromkeys(LABELS, 0.4),
            max_other=dict.fromkeys(LABELS, 0.5),
        ),
        "recipe": "test",
        "trained_at": "2026-01-01",
        "trained_on": {"covid19": 10, "normal": 20, "viral_pneumonia": 30, "validation": 6},
        "train_seconds": 1800.0,
        "weights_bytes": 13_438_434,
        "device": "cpu/none",
        "split_method": "By group.",
        "intended_use": "Research.",
        "limits": ["A heatmap shows what moved the score."],
        "splits": {"test": make_split(), "test_adult": make_split(), "external": make_split()},
        "robustness": Robustness(
            split="test",
            changes=[Change(name="JPEG", flips=make_rate(0.01)), Change(name="rotated", flips=make_rate(0.02))],
            any_change=make_rate(0.015, 200),
        ),
        "odd_inputs": OddInputs(answered=make_rate(0.1, 10), answered_files=["leg.png"]),
        "controls": [
            make_control("border_only", 0.4, is_near=False),
            make_control("thumbnail_16", 0.88, is_near=True),
        ],
        "cross_validation": CrossValidation(
            recipe="test",
            films="all films",
            folds=[Fold(fold=1, accuracy=make_rate(0.95, 50), macro_f1=make_estimate(0.94))],
            accuracy=make_rate(0.97),
            macro_f1=make_estimate(0.95),
            by_label=make_scores(),
            confusion=[[30, 1, 0], [1, 30, 0], [0, 1, 37]],
        ),
        "leave_one_source_out": [
            LeftOut(
                recipe="test, epochs 3 instead of 8",
                pool="covA",
                label="covid19",
                recall=make_rate(0.7, 40),
                coverage=make_rate(0.6, 40),
            )
        ],
        "explanations": Explanations(
            agreement=[{"method": "grad_cam", "mean_rank_correlation": 0.999, "agrees": True}], sanity=[], areas=[]
        ),
        "goals": [],
        "history": [Epoch(1, 0.5, 0.8, 0.6, 0.7, 2.5), Epoch(2, 0.4, 0.9, 0.5, 0.8, 2.5)],
        "kept_epoch": 2,
    }
    report = ModelReport.model_validate(fields | changes)
    return report if "goals" in changes else report.model_copy(update={"goals": judge(report)})


def make_control(name: str, balanced: float, *, is_near: bool) -> Control:
    """A control on the external split, where the model has 0.91."""
    return Control.model_validate(
        {
            "name": name,
            "split": "external",
            "accuracy": make_rate(balanced),
            "balanced_accuracy": make_estimate(balanced),
            "model_balanced_accuracy": 0.91,
            "is_near": is_near,
            "what": "something less",
        }
    )
