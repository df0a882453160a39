"""What the values of a DICOM look like, by arithmetic: small films, each answer written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from shared.arrays import Pixels
from shared.errors import UnreadableImage
from shared.imaging import dicom
from tests.dicoms import PLAIN, make_dicom


def read(values: npt.ArrayLike, dtype: npt.DTypeLike = np.uint8, **options: Any) -> Pixels:
    """The grey of one row of stored values."""
    return dicom.parse(make_dicom(pixels=np.asarray([values], dtype), **options)).read()


def assert_grey(found: Pixels, expected: list[int], dtype: npt.DTypeLike) -> None:
    """Values and type."""
    assert found.tolist() == [expected]
    assert found.dtype == dtype


def lookup_table(first: int, entries: list[int], bits: int, *, packed: bool = False) -> list[Dataset]:
    """A sequence of one table, whose first entry is for the value `first`."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    data = np.asarray(entries, "u1" if packed else "<u2").tobytes()
    item.add_new("LUTData", "OW", data + bytes(len(data) % 2))
    return [item]


def test_all_that_could_be_stored_is_the_range() -> None:
    """Without a window black is the least possible value, white the largest, and no two become one."""
    assert_grey(read([0, 1, 254, 255]), [0, 1, 254, 255], np.uint8)
    assert_grey(read([0, 1, 2048, 4095], np.uint16, bits=12), [0, 16, 32776, 65535], np.uint16)
    assert_grey(read([0, 1, 40000, 65535], np.uint16), [0, 1, 40000, 65535], np.uint16)
    assert_grey(read([0, 127], bits=7), [0, 65535], np.uint16)
    assert len(np.unique(read(np.arange(4096), np.uint16, bits=12))) == 4096


@pytest.mark.parametrize("syntax", PLAIN)
def test_signed_values_are_in_twos_complement(syntax: str) -> None:
    """From -2048 to 2047 in twelve bits, whatever the order of bytes."""
    found = read([-2048, -1, 0, 2047], np.int16, bits=12, syntax=syntax)
    assert_grey(found, [0, 32759, 32776, 65535], np.uint16)


def test_a_linear_window_is_that_of_the_standard() -> None:
    """(x - 99.5) / 10 + 0.5 for a centre of 100 and a width of 11."""
    found = read([94, 95, 104, 105], WindowCenter=100, WindowWidth=11)
    assert_grey(found, [0, 3277, 62258, 65535], np.uint16)


def test_an_exact_window_is_that_of_the_standard() -> None:
    """(x - 100) / 10 + 0.5."""
    found = read([95, 97, 103, 105], WindowCenter=100, WindowWidth=10, VOILUTFunction="LINEAR_EXACT")
    assert_grey(found, [0, 13107, 52428, 65535], np.uint16)


def test_a_sigmoid_window_is_that_of_the_standard() -> None:
    """1 / (1 + exp(-4 (x - 100) / 40))."""
    found = read([90, 100, 110, 255], WindowCenter=100, WindowWidth=40, VOILUTFunction="SIGMOID")
    assert_grey(found, [17625, 32768, 47910, 65535], np.uint16)


def test_a_window_over_everything_changes_nothing() -> None:
    """Eight bits stay eight bits."""
    assert_grey(read([0, 7, 255], WindowCenter=128, WindowWidth=256), [0, 7, 255], np.uint8)


def test_the_first_of_several_windows_counts() -> None:
    """The others are for other eyes."""
    found = read([94, 105], WindowCenter=[100, 50], WindowWidth=[11, 400])
    assert_grey(found, [0, 65535], np.uint16)


def test_a_window_of_width_1_is_a_step() -> None:
    """Just below its centre."""
    assert_grey(read([99, 100], WindowCenter=100, WindowWidth=1), [0, 255], np.uint8)


@pytest.mark.parametrize("width", ["0", "-5", "0.5", "NAN", "1e999", "wide", ""])
def test_a_window_that_is_none_is_passed_over(width: str) -> None:
    """The film is shown as if it had none."""
    data = make_dicom(pixels=np.asarray([[0, 7, 255]], np.uint8), WindowCenter="128", WindowWidth="9999999")
    broken = data.replace(b"9999999 ", width.encode().ljust(8))
    assert_grey(dicom.parse(broken).read(), [0, 7, 255], np.uint8)


def test_monochrome_1_is_turned_after_the_window() -> None:
    """The least value is white."""
    assert_grey(read([0, 7, 255], PhotometricInterpretation="MONOCHROME1"), [255, 248, 0], np.uint8)
    found = read([94, 95, 105], WindowCenter=100, WindowWidth=11, PhotometricInterpretation="MONOCHROME1")
    assert_grey(found, [65535, 62258, 0], np.uint16)


def test_a_rescale_comes_before_the_window() -> None:
    """2 x - 10: the window of 90 to 100 is that of the stored values 50 to 55."""
    found = read([50, 55, 56], RescaleSlope=2, RescaleIntercept=-10, WindowCenter=95.5, WindowWidth=11)
    assert_grey(found, [0, 255, 255], np.uint8)
    assert_grey(read([0, 255], RescaleSlope=-1, RescaleIntercept=0), [255, 0], np.uint8)


@pytest.mark.parametrize("slope", ["0", "NAN", "inf", "1e308", "steep"])
def test_a_slope_that_is_no_number_is_refused(slope: str) -> None:
    """Everything would be one grey, or none."""
    data = make_dicom(RescaleSlope="99999999", RescaleIntercept="1e308")
    with pytest.raises(UnreadableImage, match="slope"):
        dicom.parse(data.replace(b"99999999", slope.encode().ljust(8))).read()


def test_a_modality_table_is_looked_up() -> None:
    """Values below its first and above its last entry have those."""
    table = lookup_table(2, [10, 20, 65535], 16)
    assert_grey(read([0, 2, 3, 4, 255], ModalityLUTSequence=table), [0, 0, 10, 65535, 65535], np.uint16)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_table_of_interest_is_looked_up(syntax: str) -> None:
    """Before any window; its bits say what is white."""
    table = lookup_table(100, [0, 1, 1023], 10)
    found = read([99, 101, 102], VOILUTSequence=table, WindowCenter=1, WindowWidth=2, syntax=syntax)
    assert_grey(found, [0, 64, 65535], np.uint16)


def test_a_table_of_interest_may_begin_below_zero() -> None:
    """The rescaled values do."""
    table = lookup_table(-1000, [0, 255], 8)
    assert_grey(read([0, 1], RescaleSlope=1, RescaleIntercept=-1000, VOILUTSequence=table), [0, 255], np.uint8)


def test_a_table_of_bytes_is_looked_up() -> None:
    """Some are stored so."""
    table = lookup_table(0, [0, 51, 255], 8, packed=True)
    assert_grey(read([0, 1, 2], VOILUTSequence=table), [0, 51, 255], np.uint8)


def test_a_table_is_read_in_the_films_order_of_bytes() -> None:
    """Big endian."""
    table = lookup_table(0, [0, 0x0100], 16)
    table[0]["LUTData"].value = b"\0\0\1\0"
    assert_grey(read([0, 1], VOILUTSequence=table, syntax=ExplicitVRBigEndian), [0, 256], np.uint16)


@pytest.mark.parametrize("entries", [b"", b"\0\0"])
def test_a_table_that_is_too_short_is_refused(entries: bytes) -> None:
    """Its end is not made up."""
    table = lookup_table(0, [0, 1, 2], 16)
    table[0]["LUTData"].value = entries
    with pytest.raises(UnreadableImage, match="lookup table"):
        read([0, 1], VOILUTSequence=table)


def test_a_table_without_its_descriptor_is_refused() -> None:
    """Nobody knows what its first entry is for."""
    table = lookup_table(0, [0, 1, 2], 16)
    del table[0]["LUTDescriptor"]
    with pytest.raises(UnreadableImage, match="lookup table"):
        read([0, 1], ModalityLUTSequence=table)


def test_padding_is_black() -> None:
    """As it is shown, whatever its value would be."""
    inverted = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 0}
    assert_grey(read([0, 1, 255], **inverted), [0, 254, 0], np.uint8)
    assert_grey(read([0, 1, 255], PixelPaddingRangeLimit=1, **inverted), [0, 0, 0], np.uint8)
    found = read([-32768, 32767], np.int16, PixelPaddingValue=-32768, RescaleSlope=-1, RescaleIntercept=0)
    assert_grey(found, [0, 0], np.uint16)


def test_bits_of_others_are_left_out() -> None:
    """Overlays lie above or below the stored bits."""
    assert_grey(read([0xF000, 0x8FFF], np.uint16, bits=12), [0, 65535], np.uint16)
    assert_grey(read([0x000F, 0xFFF0], np.uint16, bits=12, HighBit=15), [0, 65535], np.uint16)


def test_the_grey_of_a_constant_film_is_defined() -> None:
    """One bit a pixel has two values, a table of one entry one."""
    assert_grey(read([0, 1], bits=1), [0, 255], np.uint8)
    assert_grey(read([0, 9], ModalityLUTSequence=lookup_table(0, [7], 8)), [0, 0], np.uint8)
    assert math.isclose(float(read([0, 9], WindowCenter=1e300, WindowWidth=10).max()), 0)
