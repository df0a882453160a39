"""The tables: sizes that are known from elsewhere, parity with an independent network, and folding of the table."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import ManifestMismatch
from tests import lite0_reference
from tests.models import make_arrays
from training.imagenet import convert
from worker.engine.architecture import (
    ARCHITECTURES,
    Architecture,
    array_shapes,
    float32_rows,
    folded,
    get_architecture,
    lite0,
    seed2020,
    tiny,
)
from worker.engine.keras_network import build_whole, get_arrays, set_arrays
from worker.engine.layers import Add, Affine, BatchNorm, Dropout

DATA = Path(os.environ.get("PLAINFILM_DATA", "../shared/data"))
IMAGENET = DATA / "weights" / "efficientnet_lite0_imagenet.npz"
FLOWER = DATA / "odd" / "photo_flower.jpg"
DAISY = 985


def count(architecture: Architecture) -> int:
    """Numbers in all arrays of the table."""
    return sum(int(np.prod(shape)) for shape in array_shapes(architecture).values())


def logits(source: dict[str, np.ndarray], film: np.ndarray) -> np.ndarray:
    """Our network's logits of one film (h, w), from the original's arrays."""
    labels = len(source["_fc.bias"])
    architecture = replace(lite0(labels), input_shape=(*film.shape, 1))
    network = build_whole(architecture)
    head = {"logits.kernel": source["_fc.weight"].T, "logits.bias": source["_fc.bias"]}
    set_arrays((network,), architecture, convert(source) | head)
    return network(film[np.newaxis, :, :, np.newaxis]).numpy()[0]


def test_seed2020_has_the_studys_number_of_parameters() -> None:
    """The five-convolution network has the 453,027 numbers of the published one."""
    assert count(seed2020(3)) == 453_027


def test_lite0_has_the_originals_numbers() -> None:
    """Without its head the original has 3,413,024; ours lacks two of three stem channels and has three logits."""
    assert count(lite0(3)) == 3_413_024 - 2 * 3 * 3 * 32 + (1280 + 1) * 3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_table_and_keras_agree_on_every_shape(name: str) -> None:
    """The shapes computed from the table are those Keras makes of it, folded or not."""
    table = get_architecture(name, 3)
    for architecture in (table, folded(table)):
        arrays = get_arrays((build_whole(architecture),), architecture)
        assert {key: array.shape for key, array in arrays.items()} == array_shapes(architecture)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_folded_table_has_no_training_rows_and_no_dangling_name(name: str) -> None:
    """What serves has neither BatchNorm nor Dropout, and every named row exists."""
    table = folded(get_architecture(name, 3))
    names = {layer.name for layer in table.layers}
    assert not [layer for layer in table.layers if isinstance(layer, BatchNorm | Dropout)]
    assert {layer.other for layer in table.layers if isinstance(layer, Add)} <= names
    assert table.target_layer in names


def test_batch_norm_after_relu_stays_as_affine() -> None:
    """A BatchNorm that no linear row precedes cannot be absorbed: the study's six become Affine rows."""
    assert sum(isinstance(layer, Affine) for layer in folded(seed2020(3)).layers) == 6


def test_the_rows_that_stay_fine_end_where_the_table_says() -> None:
    """None where the table names none."""
    table = folded(lite0(3))
    assert table.layers[float32_rows(table) - 1].name == "block01_project"
    assert float32_rows(folded(tiny(3))) == 0


def test_unknown_architecture_is_named() -> None:
    """An architecture this build does not have is refused by name."""
    with pytest.raises(ManifestMismatch, match="'vgg'"):
        get_architecture("vgg", 3)


@pytest.mark.parametrize("shape", [(64, 64), (65, 47)])
def test_lite0_equals_an_independent_numpy_network(shape: tuple[int, int]) -> None:
    """Random weights, even and odd sizes: our logits are those of a network written from the description."""
    source = lite0_reference.make_source(5)
    film = np.random.default_rng(1).random(shape, np.float32)
    expected = lite0_reference.logits(source, film)
    assert np.abs(logits(source, film) - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())


@pytest.mark.skipif(not IMAGENET.is_file(), reason="the data folder (PLAINFILM_DATA) is not here")
def test_imagenet_weights_know_a_daisy() -> None:
    """With the ImageNet weights a grey photo of a daisy is class 985, and all logits are the reference's."""
    with np.load(IMAGENET, allow_pickle=False) as archive:
        source = {name: archive[name] for name in archive.files}
    with Image.open(FLOWER) as photo:
        grey = photo.convert("L").resize((224, 224), Image.Resampling.BICUBIC)
    film = np.asarray(grey, np.float32) / np.float32(255)
    ours = logits(source, film)
    assert ours.argmax() == DAISY
    assert np.abs(ours - lite0_reference.logits(source, film)).max() < 1e-4


def test_random_arrays_fit_the_table() -> None:
    """`make_arrays` gives each array the table asks for (the tests below rest on it)."""
    assert make_arrays(lite0(2)).keys() == array_shapes(lite0(2)).keys()
