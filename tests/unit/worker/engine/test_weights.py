"""Weights: the digest before anything else, then names, shapes and values; each refusal by its own error."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from shared.errors import BadChecksum, ManifestMismatch, WrongShape
from tests.models import make_folded, make_manifest, write_model, write_weights
from training import export
from training.export import pack
from worker.engine.architecture import array_shapes, folded, tiny
from worker.engine.weights import load_weights


def test_written_arrays_come_back(tmp_path: Path) -> None:
    """What export packs, the engine reads, bit for bit."""
    manifest = write_model(tmp_path)
    weights = load_weights(tmp_path, manifest)
    assert weights.architecture == folded(tiny(3))
    assert all(np.array_equal(weights.arrays[name], array) for name, array in make_folded().items())
    assert weights.arrays.keys() == array_shapes(weights.architecture).keys()


def test_a_flipped_byte_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wrong bit and numpy never sees the file."""
    manifest = write_model(tmp_path)
    path = tmp_path / "weights.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("the file was read"))
    with pytest.raises(BadChecksum):
        load_weights(tmp_path, manifest)


@pytest.mark.parametrize(
    ("change", "is_refused"),
    [
        ({"temperature": 2.0}, True),
        ({"thresholds": make_manifest().thresholds.model_copy(update={"min_probability": 0.1})}, True),
        ({"preprocessing": "grey_scale_v1"}, True),
        ({"version": "another", "trained_at": "2020-01-01", "recipe": "another"}, False),
    ],
)
def test_a_manifest_that_was_changed_by_hand_is_refused(
    tmp_path: Path, change: dict[str, object], *, is_refused: bool
) -> None:
    """Results name the weights alone; what changes the answers must not pass under the same name."""
    manifest = export.write_model(tmp_path, pack(make_folded()), make_manifest())
    assert load_weights(tmp_path, manifest).arrays
    changed = manifest.model_copy(update=change)
    if not is_refused:
        assert load_weights(tmp_path, changed).arrays
        return
    with pytest.raises(ManifestMismatch, match="not the one that these weights were written with"):
        load_weights(tmp_path, changed)


def test_weights_without_a_seal_are_refused(tmp_path: Path) -> None:
    """Else whoever takes the seal away could change the thresholds under the digest of these weights."""
    bare = pack(make_folded())
    (tmp_path / "weights.npz").write_bytes(bare)
    with pytest.raises(ManifestMismatch, match="not the one that these weights were written with"):
        load_weights(tmp_path, make_manifest(weights_sha256=hashlib.sha256(bare).hexdigest()))


def test_absent_weights_are_named(tmp_path: Path) -> None:
    """A folder without weights.npz is a mismatch, not a crash."""
    with pytest.raises(ManifestMismatch, match=r"weights\.npz"):
        load_weights(tmp_path, make_manifest())


def test_bytes_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    """The right digest does not make an archive."""
    with pytest.raises(ManifestMismatch, match="no npz"):
        load_weights(tmp_path, write_weights(tmp_path, b"not an archive"))


@pytest.mark.parametrize("kind", ["array", "text", "cut"])
def test_archives_of_something_else_are_refused(tmp_path: Path, kind: str) -> None:
    """One bare array; an archive of a text; one whose compressed data is damaged."""
    buffer = io.BytesIO()
    if kind == "array":
        np.save(buffer, np.ones(3))
    elif kind == "text":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("conv1.kernel", "text")
    else:
        np.savez_compressed(buffer, **{"conv1.kernel": np.arange(4000)})
    data = bytearray(buffer.getvalue())
    if kind == "cut":
        data[400:900] = bytes(500)
    with pytest.raises(ManifestMismatch, match="plain arrays"):
        load_weights(tmp_path, write_weights(tmp_path, bytes(data)))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    """An object array, which would need pickle, is refused."""
    buffer = io.BytesIO()
    np.savez(buffer, **{"conv1.kernel": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ManifestMismatch, match="plain arrays"):
        load_weights(tmp_path, write_weights(tmp_path, buffer.getvalue()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits.bias": None}, "'logits.bias' is missing"),
        ({"stray": np.zeros(1, np.float32)}, "'stray' is not expected"),
        ({"logits.bias": np.zeros(4, np.float32)}, "promised was float32"),
        ({"logits.bias": np.zeros(3, np.float64)}, "float64"),
        ({"logits.bias": np.array([0, np.nan, 0], np.float32)}, "not finite"),
    ],
    ids=["missing", "stray", "shape", "type", "nan"],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, np.ndarray | None], message: str) -> None:
    """A missing, stray, misshapen, mistyped or broken array is refused by its name."""
    arrays = {name: array for name, array in (make_folded() | change).items() if array is not None}
    with pytest.raises(WrongShape, match=message):
        load_weights(tmp_path, write_weights(tmp_path, pack(arrays)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "vgg"}, "'vgg'"),
        ({"input_shape": (64, 32, 1)}, "input_shape"),
        ({"target_layer": "conv9"}, "'conv9'"),
        ({"parameters": 7}, "promises 7"),
    ],
)
def test_promises_the_table_cannot_keep_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    """A manifest that contradicts its architecture is refused before the weights are opened."""
    with pytest.raises(ManifestMismatch, match=message):
        load_weights(tmp_path, make_manifest(**change))
