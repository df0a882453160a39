"""`int8.npz`: read as it was written, refused where it does not fit; and which processors compute in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.errors import BadChecksum, ManifestMismatch, WrongShape
from shared.manifest import read_manifest
from tests.models import quantize_model, write_model
from training.export import pack
from worker.engine.int8 import computes_int8, from_stored
from worker.engine.weights import Weights, load_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model that was quantized."""
    write_model(tmp_path)
    quantize_model(tmp_path)
    return tmp_path


def read(folder: Path) -> Weights:
    """The model's arrays."""
    return load_weights(folder, read_manifest(folder))


def test_rows_come_back_near_their_weights(folder: Path) -> None:
    """Every convolution; each weight within one step."""
    weights = read(folder)
    assert weights.int8.keys() == {"conv1", "conv2"}
    for name, row in weights.int8.items():
        assert row.kernel.dtype == np.int8
        assert np.abs(row.kernel * row.scale - weights.arrays[f"{name}.kernel"]).max() <= row.scale.max() * 1.001
        assert row.low <= 0 < row.high


def test_a_model_that_was_not_quantized_has_none(tmp_path: Path) -> None:
    """And needs no file."""
    write_model(tmp_path)
    assert not read(tmp_path).int8


def test_a_changed_byte_is_refused_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the weights: numpy never sees the file."""
    path = folder / "int8.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    seen: list[object] = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *given, **named: seen.append(given) or load(*given, **named))
    with pytest.raises(BadChecksum, match=r"int8\.npz"):
        read(folder)
    assert len(seen) == 1


def test_an_absent_file_is_named(folder: Path) -> None:
    """The manifest promises it."""
    (folder / "int8.npz").unlink()
    with pytest.raises(ManifestMismatch, match=r"int8\.npz"):
        read(folder)


def parts(folder: Path) -> dict[str, np.ndarray]:
    """The file's arrays."""
    with np.load(folder / "int8.npz") as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("conv1.bias", None, ManifestMismatch),
        ("logits.up", np.zeros(6, np.uint8), ManifestMismatch),
        ("conv3.scale", np.ones(8, np.float32), ManifestMismatch),
        ("conv1.up", np.zeros(3, np.uint8), WrongShape),
        ("conv1.up", np.zeros(25, np.float32), WrongShape),
        ("conv1.scale", np.zeros(8, np.float32), WrongShape),
        ("conv1.scale", np.ones(7, np.float32), WrongShape),
        ("conv1.bias", np.full(8, np.nan, np.float32), WrongShape),
        ("conv2.range", np.array([1, 6], np.float32), WrongShape),
        ("conv2.range", np.array([0, 6], np.float64), WrongShape),
    ],
)
def test_what_does_not_fit_is_refused(
    folder: Path, name: str, array: np.ndarray | None, problem: type[Exception]
) -> None:
    """A part too few, one of another row, of another shape or type, no number, a range of no width."""
    weights, stored = read(folder), parts(folder)
    assert from_stored(weights.architecture, weights.arrays, stored).keys() == weights.int8.keys()
    changed = {key: value for key, value in stored.items() if key != name} | ({} if array is None else {name: array})
    with pytest.raises(problem, match=r"int8\.npz"):
        from_stored(weights.architecture, weights.arrays, changed)


def test_the_same_arrays_are_the_same_bytes(folder: Path) -> None:
    """A model's second quantizing by the same films names the same file."""
    before = read_manifest(folder).int8_sha256
    assert (folder / "int8.npz").read_bytes() == pack(parts(folder))
    quantize_model(folder)
    assert read_manifest(folder).int8_sha256 == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n", True),
        ("flags : fpu avx2 avx_vnni\n", True),
        ("flags : fpu avx2 avx512f avx512_bf16\n", False),
        ("Features : asimd\n", False),
    ],
)
def test_the_processor_says_whether_it_computes_in_it(tmp_path: Path, text: str, *, expected: bool) -> None:
    """By the flags that Linux lists; without them two products may overflow where they are added."""
    (tmp_path / "cpuinfo").write_text(text)
    assert computes_int8(tmp_path / "cpuinfo") is expected
    assert not computes_int8(tmp_path / "absent")
