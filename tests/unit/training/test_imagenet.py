"""Pretrained weights: the file the recipe means and no other; every array of the table but the logits."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from shared.errors import DataProblem
from tests.lite0_reference import make_source
from training.imagenet import convert, read_pretrained
from worker.engine.architecture import array_shapes, lite0


def test_every_array_of_the_table_is_converted() -> None:
    """Names and shapes are the table's; only the logits are left to be learned."""
    expected = {name: shape for name, shape in array_shapes(lite0(3)).items() if not name.startswith("logits")}
    assert {name: array.shape for name, array in convert(make_source(3)).items()} == expected


def test_file_is_read_by_its_digest(tmp_path: Path) -> None:
    """The digest decides; another file and no file are refused by name."""
    path = tmp_path / "lite0.npz"
    np.savez(path, **make_source(3))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert "stem.kernel" in read_pretrained(path, digest)
    with pytest.raises(DataProblem, match=r"lite0\.npz are not the ones"):
        read_pretrained(path, "0" * 64)
    with pytest.raises(DataProblem, match=r"gone\.npz are not there"):
        read_pretrained(tmp_path / "gone.npz", digest)
