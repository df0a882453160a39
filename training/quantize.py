"""Quantization: rounds a model's weights for eight-bit arithmetic by training films, and writes `int8.npz`.

Rows are rounded in order, each on the output of the rounded rows before it; `rounding.py` has the arithmetic. Called
at the end of a run and by `plainfilm model quantize`; the networks run on OpenVINO, which will serve them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import openvino

from shared.arrays import FloatArray
from shared.errors import DataProblem, ManifestMismatch
from shared.imaging.preprocess import preprocess
from shared.manifest import ModelManifest, read_manifest
from training.dataset import film_sha256, read_film
from training.export import pack, write_manifest
from training.features import Progress
from training.learned import read_learned
from training.new_folder import make_folder, write_whole
from training.rounding import Convolution, Doubles, measure_inputs, round_row
from worker.engine.architecture import float32_rows
from worker.engine.choose import ends_pooled
from worker.engine.int8 import INT8_FILE, Int8Row, convolutions, to_stored
from worker.engine.openvino_network import compile_network, connect
from worker.engine.weights import Weights, load_weights

FILMS: Final = 64
"""Training films drawn; 160 instead of 48 made no detectable change in the shipped model's error."""

Parts = dict[str, npt.NDArray[np.generic]]
"""Arrays of a row as they are stored, by the part's name."""


def write_int8(folder: Path, films: Sequence[Path], seed: int, progress: Progress) -> ModelManifest:
    """Write `folder/int8.npz` for the model in it, and its digest into the manifest; return the manifest.

    The model loads even after an interruption: while the file is written, the manifest does not name it.

    Args:
        films: one or more of the model's training films; those used are drawn, whatever the order of the films.
        seed: of the draw.

    Raises:
        DataProblem: a film cannot be read.
        InvalidRequest: the folder may not be written to.
        ModelProblem: the model cannot be loaded, or OpenVINO does not serve it.
    """
    make_folder(folder)
    manifest = read_manifest(folder).model_copy(update={"int8_sha256": None})
    weights = load_weights(folder, manifest)
    if not ends_pooled(weights.architecture, manifest.target_layer):
        raise ManifestMismatch(f"'{manifest.architecture}' is not served by OpenVINO, which computes in eight bits.")
    inputs = [preprocess(read_film(film), manifest.preprocessing, manifest.input_shape) for film in _draw(films, seed)]
    rows = quantize(weights, np.stack(inputs), progress)
    data = pack({f"{name}.{part}": array for name, parts in rows.items() for part, array in parts.items()})
    write_manifest(folder, manifest)
    write_whole(folder / INT8_FILE, data)
    written = manifest.model_copy(update={"int8_sha256": hashlib.sha256(data).hexdigest()})
    write_manifest(folder, written)
    return written


def learned_among(folder: Path, films: Sequence[Path]) -> list[Path]:
    """Return those of the films that the model in `folder` was trained on.

    Raises:
        DataProblem: there are none, as far as the model's folder has a record.
    """
    record = read_learned(folder)
    learned = set(record.learned_from) if record else set()
    known = [film for film in films if film_sha256(film) in learned]
    if not known:
        raise DataProblem("The model learned from none of these films; it is quantized by films it learned from.")
    return known


def _draw(films: Sequence[Path], seed: int) -> list[Path]:
    by_digest = {film_sha256(film): film for film in films}
    order = np.random.default_rng(seed).permutation(sorted(by_digest))
    return [by_digest[sha256] for sha256 in order[:FILMS]]


def quantize(weights: Weights, films: FloatArray, progress: Progress) -> dict[str, Parts]:
    """Return each row's parts as they are stored, by the row's name.

    Args:
        films: (N, H, W, 1) float32 in [0, 1], N >= 1.
    """
    architecture = weights.architecture
    first = float32_rows(architecture)
    unrounded = {layer.name for layer in architecture.layers[:first]}
    layers = [layer for layer in convolutions(architecture) if layer.name not in unrounded]
    target_means = _output_means(weights, [layer.name for layer in layers], films)
    rows: dict[str, Int8Row] = {}
    stored: dict[str, Parts] = {}
    for place, layer in enumerate(layers):
        statistics = measure_inputs(layer, _inputs(layer, weights, rows, films))
        kernel = weights.arrays[f"{layer.name}.kernel"]
        up, row = round_row(layer, kernel, statistics, target_means[layer.name])
        rows[layer.name], stored[layer.name] = row, to_stored(up, row)
        progress("rows rounded to eight bits", place + 1, len(layers))
    return stored


def _output_means(weights: Weights, names: Sequence[str], films: FloatArray) -> dict[str, Doubles]:
    """Return each row's output in float32, (channels,), averaged over films and positions."""
    by_film = [
        [row.mean(axis=(1, 2), dtype=np.float64) for row in outputs] for outputs in _run(weights, {}, names, films)
    ]
    return {name: np.mean(means, axis=0) for name, means in zip(names, zip(*by_film, strict=True), strict=True)}


def _inputs(layer: Convolution, weights: Weights, rows: dict[str, Int8Row], films: FloatArray) -> list[FloatArray]:
    """Return the row's input (C, h, w) for each film, as the rounded rows before it make it."""
    names = [row.name for row in weights.architecture.layers]
    above = names[names.index(layer.name) - 1]
    return [film.copy() for (film,) in _run(weights, rows, [above], films)]


def _run(
    weights: Weights, rows: dict[str, Int8Row], names: Sequence[str], films: FloatArray
) -> Iterator[list[FloatArray]]:
    """Yield each film's outputs (C, h, w) of the named rows, in buffers of OpenVINO: valid until the next film."""
    entry, nodes = connect(weights.architecture, weights.arrays, rows)
    network = compile_network(openvino.Model([nodes[name] for name in names], [entry], "seen"), 1)
    for film in films:
        outputs = network([film.transpose(2, 0, 1)[np.newaxis]])
        yield [outputs[place][0] for place in range(len(names))]
