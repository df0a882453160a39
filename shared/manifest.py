"""A model's manifest: `manifest.json` beside its `weights.npz`, read and checked before any of the weights.

Written by `training/export.py`; read by `worker/engine`, by `web` for the about-the-model page, and stored by hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import BadChecksum, ManifestMismatch

MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "weights.npz"

SEALED_FIELDS: Final = frozenset({
    "architecture", "labels", "other_label", "input_shape", "preprocessing", "target_layer", "gate_layer",
    "temperature", "thresholds",
})  # fmt: skip
"""The fields that, together with the weight arrays, determine a model's answers."""


class Rate(BaseModel):
    """A measured share with its denominator and 95 % Wilson interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float = Field(ge=0, le=1)
    n: int = Field(ge=0)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class SplitMetrics(BaseModel):
    """Metrics on one split of n films.

    Accuracy, balanced accuracy, F1, ECE, recall and confusion (row = true, column = chosen) are of the forced choice
    among the labels on all films that have one of them, and None or empty where no film has. Coverage is the share
    of all n films, other labels included, whose verdict names a label. Of these verdicts, selective accuracy is the
    share of correct ones on films that have a label, verdict precision the share of correct ones on all films: a
    verdict that names a label is wrong on a film with an other finding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    accuracy: Rate | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    ece15: float | None = None
    recall: dict[str, Rate] = Field(default_factory=dict)
    coverage: Rate
    coverage_by_label: dict[str, Rate] = Field(default_factory=dict)
    selective_accuracy: Rate | None = None
    verdict_precision: Rate | None = None
    confusion: list[list[int]] = Field(default_factory=list)


class Thresholds(BaseModel):
    """Numbers that turn scores into a verdict; they belong to one version of one model.

    Attributes:
        min_probability: below this calibrated top probability the verdict is 'uncertain'.
        min_spread: least standard deviation of the windowed input ([0, 1]); below it 'not_assessable'.
        set_quantiles: per label, the class-conditional conformal quantile: a label enters the
            prediction set where 1 - probability <= quantile.
        max_other: per label, for films whose most probable label it is: at or above this probability of an other
            finding the verdict is 'uncertain'; None where the model has no such output.
        max_film_distance, max_feature_distance: above these distances of the model's input gate the verdict is
            'not_assessable'; None where the model has no gate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_probability: float = Field(ge=0, le=1)
    min_spread: float = Field(ge=0)
    set_quantiles: dict[str, float]
    max_other: dict[str, Annotated[float, Field(ge=0, le=1)]] | None = None
    max_film_distance: float | None = None
    max_feature_distance: float | None = None


class ModelManifest(BaseModel):
    """The whole manifest; frozen, unknown fields refused.

    Attributes:
        target_layer: the layer whose output Grad-CAM weighs.
        gate_layer: an earlier layer, whose output the input gate judges; None where the model has no gate.
        int8_sha256: of `int8.npz`, which holds how the weights are rounded for 8-bit arithmetic; None where the
            model was not quantized.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    version: str
    architecture: str
    labels: tuple[str, ...] = Field(min_length=2)
    other_label: Literal["other_finding"] | None = None
    input_shape: tuple[int, int, int]
    preprocessing: str
    target_layer: str
    gate_layer: str | None = None
    temperature: float = Field(gt=0)
    thresholds: Thresholds
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    int8_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    parameters: int
    recipe: str
    trained_at: str
    trained_on: dict[str, int]
    metrics: dict[str, SplitMetrics]
    notice: Literal["research use; not a medical device"] = "research use; not a medical device"

    @property
    def outputs(self) -> int:
        """The number of logits: one for each label, and a last one for an other finding where the model has it."""
        return len(self.labels) + (self.other_label is not None)

    @model_validator(mode="after")
    def _thresholds_name_the_labels(self) -> ModelManifest:
        for name, limits in (
            ("set_quantiles", self.thresholds.set_quantiles),
            ("max_other", self.thresholds.max_other),
        ):
            if limits is not None and set(limits) != set(self.labels):
                raise ValueError(f"thresholds.{name} must name exactly the labels")
        return self


def seal_of(manifest: ModelManifest) -> str:
    """Return the SHA-256, in hex, of the manifest's fields that affect answers.

    `weights.npz` holds it too, so that the weights' own SHA-256 identifies weights and thresholds together. Version and
    date are left out: two training runs with the same outcome write the same bytes.
    """
    text = manifest.model_dump_json(include=set(SEALED_FIELDS), exclude_none=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path) -> ModelManifest:
    """Read `folder/manifest.json`.

    Raises:
        ManifestMismatch: the file is absent, is no JSON, or does not match the schema.
    """
    try:
        text = (folder / MANIFEST_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestMismatch(
            "The model folder has no readable manifest.json.", folder=str(folder), why=f"folder {folder}"
        ) from error
    try:
        return ModelManifest.model_validate_json(text)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, e["loc"])) or "(root)" for e in error.errors())
        raise ManifestMismatch(
            f"The model's manifest.json is not valid: {fields}.", folder=str(folder), why=f"folder {folder}"
        ) from error


def read_verified(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file of a model's folder, before anything of them is parsed.

    Raises:
        ManifestMismatch: there is no readable file.
        BadChecksum: its SHA-256 is another one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"The model folder has no readable {path.name}."
        raise ManifestMismatch(message, folder=str(path.parent)) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        message = f"{path.name} is not the file that the manifest names: its SHA-256 differs."
        raise BadChecksum(message, folder=str(path.parent))
    return data
