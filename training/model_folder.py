"""A model's folder as a whole: verified, and copied only where it passes. Needs no training library."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shared.manifest import MANIFEST_FILE, ModelManifest, read_manifest
from training.new_folder import check_empty, make_folder
from worker.engine.golden import GoldenState, check_golden, read_golden
from worker.engine.keras_engine import build_engine
from worker.engine.weights import load_weights

RUN_FILES: Final = frozenset({"run.json", "run.log"})
"""Files that describe the run and its machine rather than the model."""


def verify(folder: Path) -> Iterator[str]:
    """Yield one sentence for each check that passes: manifest, weights, golden films; each runs when it is consumed.

    Raises:
        ModelProblem: a check fails.
    """
    manifest = read_manifest(folder)
    yield f"manifest: {manifest.name} {manifest.version}, labels {', '.join(manifest.labels)}"
    weights = load_weights(folder, manifest)
    gate = "with an input gate" if weights.gate else "without an input gate"
    yield f"weights: SHA-256 {manifest.weights_sha256}, {manifest.parameters:,} parameters, {gate}"
    if weights.int8:
        yield f"int8: SHA-256 {manifest.int8_sha256}, {len(weights.int8)} rows"
    golden = read_golden(folder)
    engine = build_engine(manifest, weights)
    if golden is None or check_golden(engine, golden) is GoldenState.ABSENT:
        yield "golden films: absent; nothing tells whether the model answers as when it was made"
    else:
        yield f"golden films: passed, {len(golden.films)} answered as recorded on {golden.device} ({golden.build})"


def export_model(folder: Path, out: Path) -> ModelManifest:
    """Copy a verified model to a new folder, the manifest last, verify the copy, and return its manifest.

    Raises:
        ModelProblem: the model, or its copy, fails a check.
        InvalidRequest: the new folder is not empty.
    """
    check_empty(out)
    list(verify(folder))
    make_folder(out)
    copy_files(folder, out, RUN_FILES)
    list(verify(out))
    return read_manifest(out)


def copy_files(folder: Path, out: Path, without: frozenset[str] = frozenset()) -> None:
    """Copy the files of a folder, the manifest last; its subfolders are not copied."""
    out.mkdir(parents=True, exist_ok=True)
    names = [path.name for path in folder.iterdir() if path.is_file() and path.name not in without]
    for name in sorted(names, key=lambda name: (name == MANIFEST_FILE, name)):
        shutil.copyfile(folder / name, out / name)
