"""A new version of a model for another hospital: the same network with its own temperature and thresholds.

Half of the hospital's films set them, the other half shows what that changed; groups (patients) stay together. What
those films cannot tell is kept: without other findings their threshold means what it meant, and the limits that
refuse pictures are only ever widened, since the films say nothing of what is to be refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from shared.arrays import FloatArray
from shared.domain import Evidence
from shared.errors import DataProblem
from shared.manifest import MANIFEST_FILE, WEIGHTS_FILE, ModelManifest, Rate, SplitMetrics, Thresholds, read_manifest
from training.calibrate import Aims, Held, conclude, least_for
from training.dataset import Example, check_once, read_class_folders, read_manifest_csv, refuse
from training.evaluate import Answers, ask, measure
from training.export import RECIPE_FILE, add_metrics, write_model
from training.features import Progress
from training.golden import write_golden
from training.learned import RECALIBRATION_FILE, check_unseen, digests, read_learned, read_recalibrated
from training.model_folder import RUN_FILES, copy_files
from training.new_folder import check_empty, make_folder, written_whole
from training.recipe import Recipe
from training.recipe_file import read_recipe
from training.splits import class_folders, split_by_group
from worker.engine.golden import GOLDEN_FILE
from worker.engine.keras_engine import load_engine

LEAST_FILMS: Final = 20
"""Films of each label below which nothing is learned: half of them set a class's conformal quantile, and at the usual
coverage of 0.9 nine are the fewest that can."""

LONGEST_VERSION: Final = 64
"""What the database takes; of a long one both ends are shortened, so that the new name shows."""

HELD_OUT: Final = "held_out"
SHOWN: Final = ("accuracy", "balanced_accuracy", "ece15", "coverage", "selective_accuracy")
LEAST_PROBABILITY: Final = 1e-30
NEARLY_ONE: Final = 1 - 1e-7
"""Ends within which probabilities are turned back into logits; float32 tells nothing beyond them."""

MODEL_ONLY: Final = frozenset(
    {MANIFEST_FILE, WEIGHTS_FILE, GOLDEN_FILE, "model.json", "report.html", "MODEL_CARD.md"} | RUN_FILES
)
"""Files of the old version that do not hold for the new one."""


class Record(BaseModel):
    """What a recalibrated model was made from, beside its weights.

    Attributes:
        version: of the new model; version_before, weights_before: of the one it was made from.
        films: label to films that set the thresholds; before, after: measured on `HELD_OUT` films.
        films_sha256: SHA-256s of their bytes, and of those of earlier recalibrations, whose limits may have been kept.
        kept: what the films could not tell, a sentence each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    version_before: str
    weights_before: str
    films: dict[str, int]
    films_sha256: tuple[str, ...]
    before: SplitMetrics
    after: SplitMetrics
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Halves:
    """Films that set the thresholds, and films that are held out to measure by."""

    setting: tuple[Example, ...]
    held_out: tuple[Example, ...]


def find_films(folder: Path, manifest: Path | None, folders: Path | None) -> tuple[Example, ...]:
    """The labelled films of a CSV, else of class folders, for the model in `folder`.

    Raises:
        DataProblem: see `dataset`; a film has two rows, or a label is neither the model's nor one of other findings.
    """
    labels = accepted_labels(folder)
    if manifest is not None:
        films = read_manifest_csv(manifest, ("file", "label"), labels)
    elif folders is not None:
        films = read_class_folders(folders, class_folders(labels))
    else:
        raise DataProblem("No films are named.")
    check_once(films)
    return films


def as_lines(record: Record) -> Iterator[str]:
    """What the held-out films show, before and after, and what was kept."""
    yield f"{sum(record.films.values())} films set the thresholds, {record.before.n} measure them:"
    for name in SHOWN:
        before, after = (_shown(metrics, name) for metrics in (record.before, record.after))
        yield f"  {name}: {before} before, {after} after"
    yield from (f"kept: {sentence}" for sentence in record.kept)


def _shown(metrics: SplitMetrics, name: str) -> str:
    value = getattr(metrics, name)
    if isinstance(value, Rate):
        return f"{value.value:.3f} [{value.low:.3f}-{value.high:.3f}], n {value.n}"
    return "-" if value is None else f"{value:.3f}"


def accepted_labels(folder: Path) -> tuple[str, ...]:
    """Labels that a film may have for the model in `folder`: its own, and those of other findings if it knows them."""
    manifest = read_manifest(folder)
    others = (*_recipe(folder).other_labels, manifest.other_label) if manifest.other_label else ()
    return (*manifest.labels, *others)


def recalibrate(folder: Path, examples: Sequence[Example], out: Path, seed: int, progress: Progress) -> Record:
    """Write a new version of the model in `folder` to `out`; `folder` stays as it is.

    Args:
        seed: of the split into halves.

    Raises:
        DataProblem: too few films of a label, one that cannot be read, or that the model learned from.
        InvalidRequest: `out` is not empty, or cannot be written to.
        ModelProblem: the model cannot be loaded.
    """
    check_empty(out)
    manifest, aims = read_manifest(folder), Aims.of(_recipe(folder))
    learned = read_learned(folder)
    check_unseen({"": examples}, learned.known if learned else {})
    halves = halve(examples, manifest.labels, seed, max(LEAST_FILMS // 2, least_for(aims.set_coverage)))
    make_folder(out)
    engine = load_engine(folder)
    setting, held_out = (ask(engine, films, progress) for films in (halves.setting, halves.held_out))
    temperature, thresholds, kept = set_anew(setting, manifest, aims)
    version = manifest.version[: LONGEST_VERSION // 2] + f"+{out.absolute().name}"[: LONGEST_VERSION // 2]
    changes = {"temperature": temperature, "thresholds": thresholds, "version": version}
    with written_whole(out, last=MANIFEST_FILE) as draft:
        written = write_version(folder, draft, manifest.model_copy(update=changes))
        measured = ask(load_engine(draft), halves.held_out, progress)
        record = Record(
            version=version,
            version_before=manifest.version,
            weights_before=manifest.weights_sha256,
            films=dict(Counter(film.label for film in halves.setting)),
            films_sha256=_setting_digests(folder, halves.setting),
            before=measure(held_out, manifest.labels),
            after=measure(measured, manifest.labels),
            kept=kept,
        )
        add_metrics(draft, written, {HELD_OUT: record.after})
        write_golden(draft)
        (draft / RECALIBRATION_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def _setting_digests(folder: Path, films: Sequence[Example]) -> tuple[str, ...]:
    """Of the films that set thresholds now, and of those that set them in the version before."""
    before = read_recalibrated(folder)
    return tuple(sorted({*digests(films), *(before.films_sha256 if before else ())}))


def halve(examples: Sequence[Example], labels: Sequence[str], seed: int, least: int = LEAST_FILMS // 2) -> Halves:
    """Half of the groups of each label to set thresholds by, the other half to measure by.

    Raises:
        DataProblem: a label has fewer than `LEAST_FILMS` films, or fewer than `least` in one of the halves.
    """
    refuse(list(_shortages(examples, labels, LEAST_FILMS, "the films")))
    films = [replace(example, pool="") for example in examples]
    split = split_by_group(films, 0.5, np.random.default_rng(seed))
    halves = Halves(split.validation, split.train)
    refuse([
        *_shortages(halves.setting, labels, least, "the half that sets the thresholds"),
        *_shortages(halves.held_out, labels, least, "the half that is held out"),
    ])  # fmt: skip
    return halves


def _shortages(examples: Sequence[Example], labels: Sequence[str], least: int, where: str) -> Iterator[str]:
    counts = Counter(example.label for example in examples)
    for label in labels:
        if counts[label] < least:
            yield f"{where}: the class '{label}' has {counts[label]} films; at least {least} are needed."


def set_anew(answers: Answers, manifest: ModelManifest, aims: Aims) -> tuple[float, Thresholds, tuple[str, ...]]:
    """Temperature and thresholds from what the model said of films, and what was kept of the old ones."""
    labels = manifest.labels
    truth = np.array([labels.index(label) if label in labels else len(labels) for label in answers.truth], np.int64)
    logits = as_logits(answers.evidence, manifest.temperature, has_other=manifest.other_label is not None)
    spreads = np.array([seen.spread for seen in answers.evidence], np.float32)
    has_gate = manifest.thresholds.max_film_distance is not None
    gate = np.array([(seen.film_distance, seen.feature_distance) for seen in answers.evidence], np.float32)
    temperature, found = conclude(Held(logits, truth, spreads, gate if has_gate else None), labels, aims)
    others = int((truth == len(labels)).sum())
    kept = tuple(_kept(manifest, others))
    return temperature, _with_kept(found, manifest, temperature, others), kept


def as_logits(evidence: Sequence[Evidence], temperature: float, *, has_other: bool) -> FloatArray:
    """(N, outputs) float32 that give these calibrated probabilities at this temperature; each row up to a constant.

    The label's probabilities are a softmax of their own; that of an other finding is one over all outputs.
    """
    probabilities = np.array([seen.probabilities for seen in evidence], np.float64)
    logits = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
    if has_other:
        other = np.clip([seen.other for seen in evidence], LEAST_PROBABILITY, NEARLY_ONE)
        logits = np.column_stack([logits, np.log(other / (1 - other))])
    return (logits * temperature).astype(np.float32)


def _kept(manifest: ModelManifest, others: int) -> Iterator[str]:
    if manifest.other_label is not None and others < LEAST_FILMS // 2:
        yield f"max_other: {others} films with an other finding set no threshold; it means what it meant"
    if manifest.thresholds.max_film_distance is not None:
        yield "max_film_distance, max_feature_distance: widened at the most"
    yield "min_spread: lowered at the most"


def _with_kept(found: Thresholds, manifest: ModelManifest, temperature: float, others: int) -> Thresholds:
    """New thresholds without the changes that films of chests, all of them to be assessed, say nothing of."""
    old = manifest.thresholds
    changes: dict[str, object] = {
        "min_spread": min(found.min_spread, old.min_spread),
        "max_film_distance": _wider(found.max_film_distance, old.max_film_distance),
        "max_feature_distance": _wider(found.max_feature_distance, old.max_feature_distance),
    }
    if others < LEAST_FILMS // 2:
        changes["max_other"] = old.max_other and {
            label: _at_temperature(limit, manifest.temperature, temperature) for label, limit in old.max_other.items()
        }
    return found.model_copy(update=changes)


def _wider(found: float | None, old: float | None) -> float | None:
    return None if found is None or old is None else max(found, old)


def _at_temperature(probability: float, before: float, after: float) -> float:
    """The same score against the leading label, as the probability it is at another temperature."""
    if not 0 < probability < 1:
        return probability
    return 1 / (1 + exp(-log(probability / (1 - probability)) * before / after))


def write_version(folder: Path, out: Path, manifest: ModelManifest) -> ModelManifest:
    """A model folder with the arrays of `folder` and this manifest, and the digest of its own weights file.

    The arrays are the same bytes; the archive's comment goes with the thresholds, so that the file has another SHA-256
    and results tell the versions apart.
    """
    copy_files(folder, out, MODEL_ONLY)
    return write_model(out, (folder / WEIGHTS_FILE).read_bytes(), manifest.model_copy(update={"metrics": {}}))


def _recipe(folder: Path) -> Recipe:
    """The recipe the model was made by; the default knobs where its folder has none."""
    path = folder / RECIPE_FILE
    return read_recipe(path) if path.exists() else Recipe(name="unknown")
