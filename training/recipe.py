"""A recipe: every knob of one training run, with its unit and default, frozen, to and from JSON.

A recipe is a value: `training/recipes/` holds the named ones, and `find_recipe` looks them up. The JSON of the recipe
that was used is stored beside the weights, so that a model documents exactly how it was trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from shared.errors import DataProblem

LABELS = ("covid19", "normal", "viral_pneumonia")
"""The study's class order; index = position in the scores."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Augmentation of a stored copy of a film; each number is the largest change that is drawn.

    The changes hide properties of the source rather than of the lung: codec, sharpness, framing, tone curve.

    Attributes:
        flip_share: share of copies mirrored left to right.
        crop: largest share cut away in each direction.
        rotate_degrees: largest angle, either way.
        resample_px: range of the side lengths a copy is shrunk to and back from; (0, 0) is off.
        resample_share: share of copies that are resampled.
        blur_px: largest Gaussian radius in pixels of the copy; applied to half of the copies.
        sharpen: largest share of the difference from a blurred copy that is added; applied to half of the copies.
        gamma: exponent drawn between 1/gamma and gamma, evenly in its logarithm.
        contrast: largest relative change of contrast around the mean, and of brightness.
        noise: largest standard deviation in grey levels of 255; applied to half of the copies.
        jpeg_quality: range of the quality a copy is re-encoded with; (0, 0) is off.
        framed_share: share of copies that keep the film's frame and tones: mirrored, blurred, sharpened, re-encoded.
            With `learns_originals` off they replace the unchanged films, whose codec may identify their source.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    flip_share: float = 0.5
    crop: float = 0.12
    rotate_degrees: float = 7.0
    resample_px: tuple[int, int] = (96, 224)
    resample_share: float = 0.5
    blur_px: float = 1.0
    sharpen: float = 0.0
    gamma: float = 1.4
    contrast: float = 0.2
    noise: float = 6.0
    jpeg_quality: tuple[int, int] = (40, 95)
    framed_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every knob of one run.

    Attributes:
        name: the recipe's name in the manifest.
        architecture: a name of `worker.engine.architecture.ARCHITECTURES`.
        preprocessing: a name of `shared.imaging.preprocess.PREPROCESSINGS`.
        labels: in score order.
        other_labels: labels that a manifest may also have.
        other_label: the name of one more output, trained on films with `other_labels`; None leaves these films out.
        gate_layer: the row that the input gate is fitted on, `frozen_until` or a later one; None: no gate.
        manifest: the CSV, relative to the data folder.
        drawn_films: synthetic films of each class that are drawn instead of read; 0 reads the data folder.
        train_splits: splits to train on; the validation groups are taken out of them.
        report_splits: splits measured for the model's manifest, once, after everything is chosen.
        validation_share: share of the groups of each label and pool that is held out for validation: the choice of
            the epoch, and calibration.
        pretrained: npz of ImageNet weights relative to the data folder; None initialises at random.
        pretrained_sha256: its digest.
        frozen_until: the last row that is not trained; None trains all rows.
        train_batch_norm: train the BatchNorms of the trained rows; False freezes them, their statistics included.
        copies: augmented copies stored of each film, beside the film itself.
        augmentation: of these copies, see `Augmentation`.
        balance: how films are drawn: labels equally often ('label'), labels and the pools within each equally often
            ('pool'), pools by `pool_shares` ('shares'), or each film once an epoch ('none').
        pool_shares: pool to its relative weight in an epoch; 1 where not named.
        epochs: passes; one epoch draws as many films as there are, each in one of its stored forms.
        learns_originals: whether the unchanged film is one of these forms; otherwise only its augmented copies are.
        batch: films a step.
        optimizer: 'adamw' with a cosine schedule down to 0, or 'rmsprop' at a constant rate.
        learning_rate: at the start, per step.
        weight_decay: AdamW's, per step, relative to the rate.
        label_smoothing: share of the target spread over all labels.
        choose: which epoch is kept: that with the least balanced validation loss ('best'), or the last.
        calibration_copies: augmented copies of each validation film that are calibrated on beside the film itself.
        coverage: least share of validation films that must get a verdict; sets `min_probability`.
        other_verdicts: largest share of the validation films with an other finding that may get one; sets `max_other`.
        gate_pass: share of the validation films that must pass the input gate at each of its two limits.
        set_coverage: nominal coverage of the prediction sets, per class.
        is_cross_validated: whether a run ends with a 5-fold cross-validation over the study's films.
        seed: of every random draw.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    architecture: str = "lite0"
    preprocessing: str = "grey_window_v1"
    labels: tuple[str, ...] = LABELS
    other_labels: tuple[str, ...] = ("other_pneumonia", "tuberculosis")
    other_label: Literal["other_finding"] | None = None
    gate_layer: str | None = None
    manifest: str = "cxr3/manifest.csv"
    drawn_films: int = 0
    train_splits: tuple[str, ...] = ("train",)
    report_splits: tuple[str, ...] = ("test",)
    validation_share: float = 0.12
    pretrained: str | None = None
    pretrained_sha256: str = ""
    frozen_until: str | None = None
    train_batch_norm: bool = True
    copies: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    balance: Literal["none", "label", "pool", "shares"] = "none"
    pool_shares: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 10
    learns_originals: bool = True
    batch: int = 32
    optimizer: Literal["adamw", "rmsprop"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    choose: Literal["best", "last"] = "best"
    calibration_copies: int = 0
    coverage: float = 0.95
    other_verdicts: float = 0.03
    gate_pass: float = 0.995
    set_coverage: float = 0.9
    is_cross_validated: bool = False
    seed: int = 0

    @property
    def outputs(self) -> int:
        """Number of logits: one a label, and a last one for an other finding where the recipe names `other_label`."""
        return len(self.labels) + (self.other_label is not None)

    @property
    def learned_labels(self) -> tuple[str, ...]:
        """Labels of the films that are trained on."""
        return self.labels + (self.other_labels if self.other_label else ())

    def target(self, label: str) -> int:
        """Return the index of the output that a film with this label is trained towards."""
        return self.labels.index(label) if label in self.labels else len(self.labels)

    def starting_from(self, weights: Path | None) -> Recipe:
        """Return the recipe with its pretrained weights at another path; a recipe without any stays as it is."""
        return replace(self, pretrained=str(weights.absolute())) if weights and self.pretrained else self

    @property
    def sha256(self) -> str:
        """SHA-256 of every knob except the path of the pretrained weights, whose own SHA-256 is a knob."""
        knobs = json.loads(recipe_from_json(self.to_json()).to_json())  # there and back: 6 and 6.0 are one number
        del knobs["pretrained"]
        return hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the recipe as JSON, one key a knob."""
        return json.dumps(asdict(self), indent=2)


def recipe_from_json(text: str) -> Recipe:
    """Return the recipe of a JSON text; the inverse of `Recipe.to_json`.

    Raises:
        DataProblem: the text is no JSON object, or has an unknown knob, a value of the wrong type, or no name.
    """
    try:
        return TypeAdapter(Recipe).validate_json(text)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, e["loc"])) or "(root)" for e in error.errors())
        message = f"The recipe is not valid: {wrong}."
        raise DataProblem(message) from error
