"""A film on disk is read as it is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.dataset import read_film


def write_film(path: Path) -> Path:
    """A readable grey film."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64 * 64, dtype=np.uint32).reshape(64, 64).astype(np.uint8)).save(path)
    return path


def test_film_is_read_by_the_decoder_that_serves(tmp_path: Path) -> None:
    """Canonical grey pixels, as the service would see them."""
    pixels = read_film(write_film(tmp_path / "a.png"))
    assert pixels.shape == (64, 64)
    assert pixels.dtype == np.uint8
