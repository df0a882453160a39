"""The report on a model, `model.json`: every number measured on it, with n and a 95 % interval beside it.

Written by `plainfilm evaluate --report`, never by hand; the model card, report.html and the model page show it and
nothing else. A part that was not measured is None and is shown as missing, never silently left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from shared.errors import ManifestMismatch
from shared.manifest import Rate, SplitMetrics, Thresholds

REPORT_FILE: Final = "model.json"


class Part(BaseModel):
    """Base of all parts: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Estimate(Part):
    """A number other than a share of films, with its 95 % bootstrap interval over the n films."""

    value: float
    n: int = Field(ge=0)
    low: float
    high: float


class Source(Part):
    """The films of one label from one source; `source` is the manifest's pool, '' where it names none.

    `recall` is of the forced choice and None for a label that the model does not have; `coverage` is the share of
    films whose verdict names a label.
    """

    source: str
    label: str
    recall: Rate | None
    coverage: Rate


class LabelScores(Part):
    """Precision, recall and F1 of one label under the forced choice."""

    precision: Rate
    recall: Rate
    f1: Estimate


class Sets(Part):
    """Prediction sets of the films that have one of the labels.

    `by_label` is the share of films whose set holds their label, `nominal` the share that was aimed at; `mean_size` is
    over all these films, None where there are none.
    """

    nominal: float
    by_label: dict[str, Rate]
    mean_size: Estimate | None


class Failure(Part):
    """A film whose forced choice is wrong, or one with an other finding whose verdict names a label."""

    file: str
    label: str
    choice: str
    probability: float
    verdict: str


class Bin(Part):
    """Films whose top probability lies in one bin: its mean, and how often the most probable label is right."""

    probability: float = Field(ge=0, le=1)
    accuracy: Rate


class SplitReport(Part):
    """One split: the manifest's metrics, intervals of those that are not shares, sources, sets and failures.

    `estimates` has balanced_accuracy, macro_f1 and ece15, as far as the split has films of the labels. `roc_auc` is
    of each label against the others, among the films that have one of the labels. `failures` names the misclassified
    films, the most confident first. `groups` is the number of patients (or near-duplicate clusters) that the films are
    of; intervals are computed by group. `reliability` has the bins of the calibration error that hold films, the least
    probable first; it is empty in files of older builds.
    """

    metrics: SplitMetrics
    groups: int = Field(ge=0)
    estimates: dict[str, Estimate]
    roc_auc: dict[str, Estimate]
    by_label: dict[str, LabelScores]
    sources: list[Source]
    sets: Sets
    failures: list[Failure]
    reliability: list[Bin] = []


class Change(Part):
    """One way to change a film (brightness, JPEG, ...) and how often the verdict changes with it."""

    name: str
    flips: Rate


class Robustness(Part):
    """Verdict flips over the films of one split; `any_change` pools all changes."""

    split: str
    changes: list[Change]
    any_change: Rate


class OddInputs(Part):
    """Inputs other than frontal chest films: the share whose verdict names a label, and their files."""

    answered: Rate
    answered_files: list[str]


class Control(Part):
    """A control: how well a classifier or films do that lack the information that should matter.

    `is_near` is True where the control's balanced accuracy is within 0.10 of the model's on the same split.
    """

    name: Literal["lungs_blacked_out", "border_only", "thumbnail_16", "metadata_only"]
    split: str
    accuracy: Rate
    balanced_accuracy: Estimate
    model_balanced_accuracy: float
    is_near: bool
    what: str


class Fold(Part):
    """One fold of a cross-validation."""

    fold: int
    accuracy: Rate
    macro_f1: Estimate


class CrossValidation(Part):
    """k folds by group: every film is classified once, by a network that was trained without its group.

    `recipe_sha256`, here and in `LeftOut`, is the digest of the requested recipe's parameters, before its epochs or
    copies were shortened; None in files of older builds.
    """

    recipe: str
    recipe_sha256: str | None = None
    films: str
    folds: list[Fold]
    accuracy: Rate
    macro_f1: Estimate
    by_label: dict[str, LabelScores]
    confusion: list[list[int]]


class LeftOut(Part):
    """Films of one pool, classified by a network trained without it; `recipe` also names the changes made to it."""

    recipe: str
    recipe_sha256: str | None = None
    pool: str
    label: str
    recall: Rate | None
    coverage: Rate


class Goal(Part):
    """One line of the goals table; `reached` is None where the number could not be measured.

    `value` is None then too; `goal` is 'at least' or 'at most' `limit`.
    """

    measure: str
    goal: Literal["at least", "at most"]
    limit: float
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    reached: bool | None
    note: str

    def show(self, number: float | None) -> str:
        """Format a number of this line: shares with three decimals, minutes and megabytes with one."""
        return "-" if number is None else f"{number:.3f}" if self.limit <= 1 else f"{number:.1f}"

    def show_ends(self) -> str:
        """Format the interval; '-' where there is none."""
        return "-" if self.low is None or self.high is None else f"{self.show(self.low)}-{self.show(self.high)}"


class Explanations(Part):
    """The results of `training/explain_check.py`, which documents each number, on `films` films of a folder."""

    films: int | None = None
    of: str = ""
    agreement: list[dict[str, object]]
    sanity: list[dict[str, object]]
    areas: list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of the training history; losses are balanced log-losses of uncalibrated scores.

    Training figures are over the sampled films with their augmentations, and the recipe's label smoothing in the loss;
    validation figures over each film once, unaltered, without smoothing. `seconds` is wall time.
    """

    epoch: int
    train_loss: FiniteFloat
    train_accuracy: FiniteFloat
    validation_loss: FiniteFloat
    validation_accuracy: FiniteFloat
    seconds: FiniteFloat


class Recalibration(Part):
    """Temperature and thresholds were set on `films` films other than the training run's.

    `is_checked`: no measured film is one of them, by its bytes; False where the model's folder does not list them.
    `is_few`: they were fewer than recalibration asks for, and it was done all the same (`--few`).
    """

    films: int = Field(ge=1)
    is_checked: bool
    is_few: bool = False


class ModelReport(Part):
    """The whole report.

    `train_seconds` is the wall time of training, None where it was not recorded; `device` is where it was measured.
    `learned_films` is the number of films used for training and selection, none of which, by its bytes, is measured
    outside 'validation'; None where the model's folder does not list them, so that this was not checked.
    `recalibration` is None where temperature and thresholds are the training run's. `history` is empty where the
    model's folder has none, and in files of older builds; `kept_epoch` is the epoch of these weights, where known.
    """

    name: str
    version: str
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    labels: tuple[str, ...]
    temperature: float
    thresholds: Thresholds
    recipe: str
    trained_at: str
    trained_on: dict[str, int]
    train_seconds: float | None
    weights_bytes: int
    device: str
    split_method: str
    intended_use: str
    limits: list[str]
    splits: dict[str, SplitReport]
    robustness: Robustness | None
    odd_inputs: OddInputs | None
    controls: list[Control]
    cross_validation: CrossValidation | None
    leave_one_source_out: list[LeftOut]
    explanations: Explanations | None
    goals: list[Goal]
    learned_films: int | None = Field(default=None, ge=1)
    recalibration: Recalibration | None = None
    history: list[Epoch] = []
    kept_epoch: int | None = None
    notice: Literal["research use; not a medical device"] = "research use; not a medical device"


def read_report(folder: Path, weights_sha256: str) -> ModelReport | None:
    """Return the report beside a model's weights; None where there is none.

    Raises:
        ManifestMismatch: the report cannot be read, does not match the schema, or is of other weights.
    """
    path = folder / REPORT_FILE
    if not path.exists():
        return None
    try:
        report = ModelReport.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ManifestMismatch(f"The model's {REPORT_FILE} is not a report on a model.", folder=str(folder)) from error
    if report.weights_sha256 != weights_sha256:
        raise ManifestMismatch(f"The model's {REPORT_FILE} is of other weights.", folder=str(folder))
    return report
