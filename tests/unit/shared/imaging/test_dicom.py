"""DICOM films of every transfer syntax, and what their headers may say."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from shared.errors import NotFrontalFilm, UnreadableImage, UnsupportedFormat
from shared.imaging import dicom
from shared.imaging.decode import decode
from tests.dicoms import ENCODERS, LOSSLESS, LOSSY, by_pillow_2000, dataset, make_dicom, written
from tests.factories import make_pixels, make_png
from tests.hostile_dicoms import head_end, long_element, with_elements

FILES = ("CT_small", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless",
         "MR_small_jpeg_ls_lossless", "JPEG2000", "693_J2KI", "J2K_pixelrep_mismatch", "examples_overlay")  # fmt: skip
"""Of pydicom's own test files those in grey that are no smaller than a film may be."""


@pytest.fixture
def any_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of other people's, for their structure's sake."""
    monkeypatch.setattr(dicom, "MODALITIES", dicom.MODALITIES | {"CT", "MR", "NM", "US"})


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 12), (np.uint16, 16)])
def test_lossless_films_come_out_to_the_last_bit(syntax: str, dtype: npt.DTypeLike, bits: int) -> None:
    """Eight bits as eight, twelve spread over sixteen, sixteen as they are."""
    pixels = make_pixels(dtype=dtype) >> (np.iinfo(dtype).bits - bits)
    film = decode(make_dicom(pixels=pixels, syntax=syntax, bits=bits))
    expected = np.rint(pixels / 4095 * 65535).astype(np.uint16) if bits == 12 else pixels
    np.testing.assert_array_equal(film.pixels, expected)
    assert film.pixels.dtype == dtype
    assert (film.facts.kind, film.facts.mode) == ("dicom", "L" if bits == 8 else "I;16")


@pytest.mark.parametrize("syntax", LOSSY)
def test_lossy_films_come_out_nearly(syntax: str) -> None:
    """Within the error of their coding."""
    film = decode(make_dicom(pixels=make_pixels(), syntax=syntax))
    assert np.abs(film.pixels.astype(int) - make_pixels()).max() <= 3


@pytest.mark.parametrize("size", [(33, 35), (33, 64)])
@pytest.mark.parametrize("syntax", [name for name in LOSSLESS if name not in {JPEGLossless, JPEGLosslessSV1}])
def test_odd_sizes_are_read(syntax: str, size: tuple[int, int]) -> None:
    """An odd number of bytes is evened out by one more (GDCM's encoder cannot make such a film)."""
    pixels = make_pixels(height_px=size[0], width_px=size[1])
    np.testing.assert_array_equal(decode(make_dicom(pixels=pixels, syntax=syntax)).pixels, pixels)


def test_a_film_is_what_it_is_as_a_png() -> None:
    """The same pixels, so the same digests of them."""
    pixels = make_pixels(dtype=np.uint16)
    as_dicom, as_png = decode(make_dicom(pixels=pixels)), decode(make_png(pixels=pixels))
    assert as_dicom.facts.pixels_sha256 == as_png.facts.pixels_sha256
    assert as_dicom.stored_sha256 == as_png.stored_sha256


@pytest.mark.parametrize("name", FILES)
def test_files_of_others_look_as_pydicom_shows_them(name: str, any_modality: None) -> None:
    """Every value up to the step between greys; the reader here shares no code with it."""
    path = get_testdata_file(f"{name}.dcm", download=False)
    assert isinstance(path, str)
    film = dicom.parse(Path(path).read_bytes()).read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom tells what is wrong with some
        ds = dcmread(path)
        shown = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds).astype(float)
    assert np.corrcoef(film.ravel(), shown.ravel())[0, 1] > 0.99999


def test_extended_jpeg_of_12_bits_is_read(any_modality: None) -> None:
    """Pydicom cannot; the same picture came as JPEG 2000 too."""
    paths = [get_testdata_file(f"{name}.dcm", download=False) for name in ("JPGExtended", "JPEG2000")]
    extended, other = (dicom.parse(Path(str(path)).read_bytes()).read() for path in paths)
    assert np.corrcoef(extended.ravel(), other.ravel())[0, 1] > 0.95


def rebuilt(change: Callable[[bytes], bytes]) -> bytes:
    """A film of JPEG 2000 whose pieces were changed."""
    pixels = make_pixels(dtype=np.uint16)
    ds = dataset(pixels, 16)
    ds.PixelData = change(ENCODERS[JPEG2000Lossless](pixels, 16))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return written(ds, JPEG2000Lossless)


@pytest.mark.parametrize("has_table", [True, False])
@pytest.mark.parametrize("pieces", [1, 3])
def test_an_offset_table_may_be_empty_and_a_frame_in_pieces(has_table: bool, pieces: int) -> None:  # noqa: FBT001
    """With one frame there is nothing to look up."""
    data = rebuilt(lambda frame: encapsulate([frame], fragments_per_frame=pieces, has_bot=has_table))
    np.testing.assert_array_equal(decode(data).pixels, make_pixels(dtype=np.uint16))


def test_a_mark_of_the_end_inside_a_frame_is_none() -> None:
    """Pieces tell their lengths: bytes like those of the last one may come in any of them."""
    comment = b"\xff\x64" + struct.pack(">HH", 12, 0) + b"\xfe\xff\xdd\xe0" + bytes(4)
    data = rebuilt(lambda frame: encapsulate([frame[: (at := frame.index(b"\xff\x52"))] + comment + frame[at:]]))
    np.testing.assert_array_equal(decode(data).pixels, make_pixels(dtype=np.uint16))


def test_a_thumbnail_is_passed_over() -> None:
    """An icon is a picture in pieces too, inside a sequence."""
    icon = dataset(make_pixels(), 8)
    del icon.PatientName
    icon.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    icon["PixelData"].VR = "OB"
    icon["PixelData"].is_undefined_length = True
    for is_undefined in (True, False):
        data = make_dicom(syntax=JPEG2000Lossless, IconImageSequence=[icon])
        ds = dcmread(io.BytesIO(data))
        ds["IconImageSequence"].is_undefined_length = is_undefined
        assert decode(written(ds, JPEG2000Lossless)).facts.width_px == 64


def test_what_an_unknown_sequence_has_inside_is_implicit() -> None:
    """Where its length is not told (PS3.5, 6.2.2, note 2); even one whose length reads like a representation."""
    length = int.from_bytes(b"UL\0\0", "little")
    inside = struct.pack("<HHI", 0x0009, 0x1002, length) + bytes(length)
    unknown = (
        struct.pack("<HH2s2xI", 0x0009, 0x1001, b"UN", 0xFFFFFFFF)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inside + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )  # fmt: skip
    assert decode(with_elements(make_dicom(), unknown)).facts.kind == "dicom"


def test_an_element_of_an_unknown_representation_is_passed_over() -> None:
    """One of a later standard has a length of 32 bits, one of no standard is taken for implicit."""
    later = long_element(6, b"future").replace(b"OB", b"ZZ")
    none = struct.pack("<HHI", 0x0009, 0x1003, 2) + b"??"
    assert decode(with_elements(make_dicom(), later + none)).facts.kind == "dicom"


def test_explicit_elements_under_an_implicit_name_are_read() -> None:
    """Some writers do."""
    data = make_dicom()
    named = data.replace(ExplicitVRLittleEndian.encode() + b"\0", ImplicitVRLittleEndian.encode() + b"\0\0\0", 1)
    assert decode(named).facts.kind == "dicom"


def test_words_of_eight_bits_are_stored_in_pairs_in_big_endian() -> None:
    """Of an OW value (PS3.5, 8.1.2)."""
    pixels = make_pixels()
    ds = dcmread(io.BytesIO(make_dicom(pixels=pixels, syntax=ExplicitVRBigEndian)))
    ds.PixelData = pixels.reshape(-1, 2)[:, ::-1].tobytes()
    ds["PixelData"].VR = "OW"
    np.testing.assert_array_equal(decode(written(ds, ExplicitVRBigEndian)).pixels, pixels)


@pytest.mark.parametrize("coded", ["399067008", "399173006", "399198007", "R-10236"])
def test_a_view_that_is_coded_as_lateral_is_refused(coded: str) -> None:
    """Others are not."""
    item = Dataset()
    item.CodeValue = coded
    item.CodingSchemeDesignator = "SCT"
    with pytest.raises(NotFrontalFilm, match="lateral"):
        decode(make_dicom(ViewPosition=None, ViewCodeSequence=[item]))
    item.CodeValue = "272479007"
    assert decode(make_dicom(ViewPosition=None, ViewCodeSequence=[item])).facts.kind == "dicom"


@pytest.mark.parametrize("view", ["AP", "PA", "LLD", "RLD", "PA LAT", "", None])
@pytest.mark.parametrize("modality", sorted(dicom.MODALITIES))
def test_frontal_views_are_read(view: str | None, modality: str) -> None:
    """Those lying on a side, too; and those that do not say."""
    assert decode(make_dicom(ViewPosition=view, Modality=modality)).facts.kind == "dicom"


def test_no_part_of_a_film_is_taken_for_a_whole() -> None:
    """Cut anywhere before its last pixel it is refused, uncompressed or not."""
    for data in (make_dicom(), make_dicom(syntax=ImplicitVRLittleEndian), make_dicom(syntax=JPEGLosslessSV1)):
        ends = {*range(133, head_end(data) + 300), *range(400, len(data), 97), *range(len(data) - 9, len(data))}
        for end in ends:
            with pytest.raises((UnreadableImage, NotFrontalFilm, UnsupportedFormat)):
                decode(data[:end])


@pytest.mark.parametrize("syntax", ENCODERS)
def test_no_frame_that_lacks_its_end_is_taken_for_a_whole(syntax: str) -> None:
    """Though the file around it is whole."""
    pixels = make_pixels()
    frame = ENCODERS[syntax](pixels, 8)
    for share in (0.2, 0.5, 0.8, 0.99):
        with pytest.raises(UnreadableImage):
            decode(make_dicom(pixels=pixels, syntax=syntax, frame=frame[: int(len(frame) * share)]))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_a_frame_of_more_bits_than_told_keeps_them(dtype: npt.DTypeLike) -> None:
    """Some files say twelve of sixteen: cut to twelve, the brightest would be the darkest."""
    pixels = make_pixels(dtype=np.uint16)
    told = {"BitsStored": 12, "HighBit": 11}
    film = decode(
        make_dicom(
            pixels=pixels.view(dtype), syntax=JPEG2000Lossless, frame=by_pillow_2000(pixels, irreversible=False), **told
        )
    )
    expected = pixels if dtype == np.uint16 else pixels ^ np.uint16(0x8000)
    np.testing.assert_array_equal(film.pixels, expected)


@pytest.mark.parametrize("bits", [10, 12, 15])
@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless])
def test_a_sign_is_no_more_bits(syntax: str, bits: int) -> None:
    """A frame of sixteen bits has the sign of a negative value in all those above it."""
    half = 1 << bits - 1
    pixels = (make_pixels(dtype=np.uint16).astype(np.int32) % (2 * half) - half).astype(np.int16)
    plain, frame = decode(make_dicom(pixels=pixels, bits=bits)), ENCODERS[syntax](pixels.view(np.uint16), 16)
    film = decode(make_dicom(pixels=pixels, bits=bits, syntax=syntax, frame=frame))
    np.testing.assert_array_equal(film.pixels, plain.pixels)


def test_a_frame_as_wide_as_the_pixel_has_its_high_bit_where_the_file_says() -> None:
    """Twelve bits at the top of sixteen."""
    pixels = (make_pixels(dtype=np.uint16) >> 4) << 4
    told = {"bits": 12, "HighBit": 15, "WindowCenter": 2048, "WindowWidth": 4096}
    plain = decode(make_dicom(pixels=pixels, **told))
    frame = ENCODERS[JPEGLosslessSV1](pixels, 16)
    film = decode(make_dicom(pixels=pixels, syntax=JPEGLosslessSV1, frame=frame, **told))
    np.testing.assert_array_equal(film.pixels, plain.pixels)


def test_what_lies_behind_the_last_pixel_is_left() -> None:
    """Some devices fill up to a block; as much as another row is one."""
    pixels = make_pixels(dtype=np.uint8, height_px=600, width_px=600)
    for behind in (2, 512):
        ds = dcmread(io.BytesIO(make_dicom(pixels=pixels)))
        ds.PixelData += bytes(behind)
        np.testing.assert_array_equal(decode(written(ds, ExplicitVRLittleEndian)).pixels, pixels)
    ds.PixelData = pixels.tobytes() + bytes(600)
    with pytest.raises(UnreadableImage, match="more or fewer"):
        decode(written(ds, ExplicitVRLittleEndian))


def test_a_codestream_with_a_false_end_is_cut_all_the_same() -> None:
    """The parts of a JPEG 2000 frame tell their lengths, and Pillow holds them to it."""
    pixels = make_pixels(dtype=np.uint16)
    frame = ENCODERS[JPEG2000Lossless](pixels, 16)
    for share in (0.2, 0.5, 0.8, 0.99):
        cut = frame[: int(len(frame) * share)] + b"\xff\xd9"
        with pytest.raises(UnreadableImage):
            decode(make_dicom(pixels=pixels, syntax=JPEG2000Lossless, frame=cut))


def test_a_codestream_of_fewer_samples_than_pixels_is_refused() -> None:
    """Its sizes are the film's, but it has a sample for each second column alone."""
    pixels = make_pixels(dtype=np.uint16)
    frame = bytearray(ENCODERS[JPEG2000Lossless](pixels, 16))
    frame[frame.index(b"\xff\x51") + 41] = 2
    with pytest.raises(UnreadableImage):
        decode(make_dicom(pixels=pixels, syntax=JPEG2000Lossless, frame=bytes(frame)))


def test_a_jpeg_in_a_dicom_is_read_as_strictly_as_any() -> None:
    """A run of zeros in its data is refused."""
    frame = bytearray(ENCODERS[JPEGBaseline8Bit](make_pixels(height_px=256, width_px=256), 8))
    frame[-3000:-1000] = bytes(2000)
    shape = make_pixels(height_px=256, width_px=256)
    for syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        with pytest.raises(UnreadableImage):
            decode(make_dicom(pixels=shape, syntax=syntax, frame=bytes(frame)))
