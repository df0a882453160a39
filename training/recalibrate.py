"""A new version of a model for another hospital: the same network with its own temperature and thresholds.

Half of the hospital's films set them (the calibration half), the other half is held out and measures the effect;
groups (patients) stay together. `new_thresholds.py` says which of the old limits are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from shared.manifest import MANIFEST_FILE, WEIGHTS_FILE, ModelManifest, Rate, SplitMetrics, read_manifest
from training.calibrate import Targets, smallest_sample
from training.dataset import Example, refuse
from training.evaluate import ask, measure
from training.export import add_metrics, write_model
from training.features import Progress
from training.golden import write_golden
from training.learned import RECALIBRATION_FILE, check_unseen, digests, read_learned, read_recalibrated
from training.model_films import model_recipe
from training.model_folder import RUN_FILES, copy_files
from training.new_folder import check_empty, make_folder, written_whole
from training.new_thresholds import recalibrate_thresholds
from training.splits import split_by_group
from worker.engine.golden import GOLDEN_FILE
from worker.engine.keras_engine import load_engine

LEAST_FILMS: Final = 40
"""Films of each label that are asked for, measured (DECISIONS.md 94): half of them set a class's conformal quantile,
which below 19 is its least typical film alone: coverage then fell by more than ten points in one draw of ten."""

FEWEST_FILMS: Final = 20
"""Films of each label below which nothing is recalibrated, whatever is asked for: at the usual coverage of 0.9 nine are
the fewest that can set a quantile, and without one no film gets a verdict."""

FEW_SUFFIX: Final = ".few"
"""Ends the version of a model that was recalibrated on fewer than `LEAST_FILMS` films of a label."""

LONGEST_VERSION: Final = 64
"""The longest that the database stores; of a long version both ends are shortened, so that the new name shows."""

HELD_OUT: Final = "held_out"
SHOWN: Final = ("accuracy", "balanced_accuracy", "ece15", "coverage", "selective_accuracy")

MODEL_ONLY: Final = frozenset(
    {MANIFEST_FILE, WEIGHTS_FILE, GOLDEN_FILE, "model.json", "report.html", "MODEL_CARD.md"} | RUN_FILES
)
"""Files of the old version that do not hold for the new one."""


class Record(BaseModel):
    """How a recalibrated model was made; stored beside its weights.

    Attributes:
        version: of the new model; version_before, weights_before: of the one it was made from.
        films: label to number of films that set the thresholds; before, after: measured on the `HELD_OUT` films.
        films_sha256: SHA-256s of the calibration films, and of those of earlier recalibrations, whose limits may have
            been kept.
        kept: one sentence for each limit that the films could not set.
        is_few: a label had fewer than `LEAST_FILMS` films, or a half fewer than half of that.
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
    is_few: bool = False


@dataclass(frozen=True, slots=True)
class Halves:
    """Films that set the thresholds, and films that are held out to measure them."""

    setting: tuple[Example, ...]
    held_out: tuple[Example, ...]

    def shortages(self, labels: Sequence[str], least: int) -> list[str]:
        """Return what each label lacks of this number of films, half of them in either half, without a full stop."""
        return list(_shortages(self.setting + self.held_out, labels, least, "the films")) or [
            *_shortages(self.setting, labels, least // 2, "the half that sets the thresholds"),
            *_shortages(self.held_out, labels, least // 2, "the half that is held out"),
        ]


def _shortages(examples: Sequence[Example], labels: Sequence[str], least: int, where: str) -> Iterator[str]:
    counts = Counter(example.label for example in examples)
    for label in labels:
        if counts[label] < least:
            yield f"{where}: the class '{label}' has {counts[label]} films; at least {least} are needed"


def as_lines(record: Record) -> Iterator[str]:
    """Yield lines for the terminal: the metrics of the held-out films before and after, and what was kept."""
    yield f"thresholds set on {sum(record.films.values())} films, measured on {record.before.n} others:"
    for name in SHOWN:
        before, after = (_show(metrics, name) for metrics in (record.before, record.after))
        yield f"  {name}: {before} before, {after} after"
    yield from (f"kept: {sentence}" for sentence in record.kept)
    if record.is_few:
        yield f"fewer than {LEAST_FILMS} films of a class: the limits depend on which were drawn; the version says so"


def _show(metrics: SplitMetrics, name: str) -> str:
    value = getattr(metrics, name)
    if isinstance(value, Rate):
        return f"{value.value:.3f} [{value.low:.3f}-{value.high:.3f}], n {value.n}"
    return "-" if value is None else f"{value:.3f}"


def recalibrate(  # noqa: PLR0913 - the command's options
    folder: Path, examples: Sequence[Example], out: Path, seed: int, progress: Progress, *, may_be_few: bool = False
) -> Record:
    """Write a new version of the model in `folder` to `out`; `folder` stays as it is.

    Args:
        seed: of the split into halves.
        may_be_few: `FEWEST_FILMS` of each label are enough; the new version and its record tell of it.

    Raises:
        DataProblem: a label has too few films, a film cannot be read, or the model was trained on a film.
        InvalidRequest: `out` is not empty, or cannot be written to.
        ModelProblem: the model cannot be loaded.
    """
    check_empty(out)
    manifest, targets = read_manifest(folder), Targets.of(model_recipe(folder))
    learned = read_learned(folder)
    check_unseen({"": examples}, learned.known if learned else {})
    floor = 2 * smallest_sample(targets.set_coverage)
    least, fewest = max(LEAST_FILMS, floor), max(FEWEST_FILMS, floor)
    halves = halve(examples, manifest.labels, seed, fewest if may_be_few else least, fewest)
    is_few = bool(halves.shortages(manifest.labels, LEAST_FILMS))
    make_folder(out)
    engine = load_engine(folder)
    setting, held_out = (ask(engine, films, progress) for films in (halves.setting, halves.held_out))
    temperature, thresholds, kept = recalibrate_thresholds(setting, manifest, targets)
    version = _version(manifest.version, out.absolute().name, FEW_SUFFIX if is_few else "")
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
            is_few=is_few,
        )
        add_metrics(draft, written, {HELD_OUT: record.after})
        write_golden(draft)
        (draft / RECALIBRATION_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def _version(before: str, name: str, suffix: str) -> str:
    """Return the new version: both ends are shortened where it would be too long, the suffix never."""
    half = LONGEST_VERSION // 2
    return before[:half] + f"+{name}"[: half - len(suffix)] + suffix


def _setting_digests(folder: Path, films: Sequence[Example]) -> tuple[str, ...]:
    """Return the SHA-256s of the films that set the thresholds, now and in the version in `folder`."""
    before = read_recalibrated(folder)
    return tuple(sorted({*digests(films), *(before.films_sha256 if before else ())}))


def halve(
    examples: Sequence[Example],
    labels: Sequence[str],
    seed: int,
    least: int = LEAST_FILMS,
    fewest: int = FEWEST_FILMS,
) -> Halves:
    """Split the groups of each label into a half that sets the thresholds and a half that is held out.

    Args:
        least: films of each label that there must be, half of them in either half.
        fewest: how many there must be with `--few`, for the message.

    Raises:
        DataProblem: a label has fewer films, in all or in one of the halves.
    """
    films = [replace(example, pool="") for example in examples]
    split = split_by_group(films, 0.5, np.random.default_rng(seed))
    halves = Halves(split.validation, split.train)
    hint = f" (--few takes {fewest} films of each class)" if fewest < least else ""
    refuse([f"{shortage}{hint}." for shortage in halves.shortages(labels, least)])
    return halves


def write_version(folder: Path, out: Path, manifest: ModelManifest) -> ModelManifest:
    """Write a model folder with the arrays of `folder` and this manifest; return it with the digest of its weights.

    The arrays are the same bytes; the archive's comment depends on the thresholds, so that the file has another
    SHA-256 and results of the two versions can be told apart.
    """
    copy_files(folder, out, MODEL_ONLY)
    return write_model(out, (folder / WEIGHTS_FILE).read_bytes(), manifest.model_copy(update={"metrics": {}}))
