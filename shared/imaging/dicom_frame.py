"""From a DICOM file's frame to stored values: run lengths here, all else by libraries that get only the frame.

The size in the frame's own header must be the one in the file's, before a library allocates anything. JPEG of 8 bits is
decoded strictly, as other films are; JPEG 2000 by Pillow; lossless and 12-bit JPEG by GDCM; JPEG-LS by CharLS. Called
by `dicom`, inside the sandbox.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import gdcm
import jpeg_ls
import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.arrays import Pixels
from shared.errors import UnreadableImage, UnsupportedFormat
from shared.imaging import jpeg
from shared.imaging.dicom_file import DicomFile
from shared.imaging.dicom_syntax import Coding

Size = tuple[int, int]
"""Height and width."""

_DAMAGED: Final = "The pixels of the DICOM file are cut short or damaged; export it again and send the whole file."
_OTHER_SIZE: Final = "The DICOM file and the frame in it state different sizes; export the film again."
_NO_GREY: Final = "The frame in the DICOM file is not greyscale of 2 to 16 bits; export the film uncompressed."
_RLE_HEADER: Final = 64
_OVERHEAD, _SHORT = 16, 65_536
"""A segment needs at most one extra byte for each 128, and one for each row; longer ones only keep the reader busy."""
_PIECE: Final = 2**20
_LOSSLESS_FRAME: Final = 0xC3
_EXTENDED_FRAME: Final = 0xC1
_JPEG_LS_FRAME: Final = 0xF7
_START_OF_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_END: Final = b"\xff\xd9"


def read(file: DicomFile, size: Size, bits_allocated: int) -> tuple[Pixels, int | None]:
    """Decode the frame.

    Args:
        size: the size that the file declares, within the limits.
        bits_allocated: 8 or 16.

    Returns:
        (H, W) uint8 or uint16, the stored values' bit patterns; and the number of bits that the frame declares, None
        where it declares none.

    Raises:
        UnreadableImage, UnsupportedFormat: see each coding.
    """
    if file.syntax.coding is Coding.NONE:
        return _read_plain(file, size, bits_allocated), None
    frame = b"".join(file.fragments)
    if file.syntax.coding is Coding.RUN_LENGTHS:
        return _read_run_lengths(frame, size, bits_allocated), None
    pixels, bits = _READERS[file.syntax.coding](frame, size)
    if pixels.shape != size:
        raise UnreadableImage(_OTHER_SIZE)
    return pixels, bits


def _read_plain(file: DicomFile, size: Size, bits_allocated: int) -> Pixels:
    """Read rows times columns values; some devices pad them, which is ignored up to less than a row."""
    expected = size[0] * size[1] * bits_allocated // 8
    if not expected <= len(file.pixels) < expected + max(2, expected // size[0]):
        raise UnreadableImage("The DICOM file has more or fewer pixels than rows times columns; export the film again.")
    if bits_allocated == 16:  # noqa: PLR2004  bits
        return _words(file.pixels, expected // 2, "<" if file.syntax.is_little else ">").reshape(size)
    pixels = np.frombuffer(file.pixels[: expected + expected % 2], np.uint8)
    if not file.syntax.is_little and file.pixel_vr == b"OW":
        pixels = pixels[: len(pixels) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    return pixels[:expected].reshape(size)


def _read_run_lengths(frame: bytes, size: Size, bits_allocated: int) -> Pixels:
    """Decode run lengths (PS3.5, annex G): a segment for each byte of a pixel, the high byte first."""
    count = bits_allocated // 8
    offsets = np.frombuffer(frame[:_RLE_HEADER].ljust(_RLE_HEADER, b"\0"), "<u4").astype(np.int64)
    starts = [int(offset) for offset in offsets[1 : 1 + count]] + [len(frame)]
    if offsets[0] != count or starts != sorted(starts) or starts[0] < _RLE_HEADER:
        raise UnreadableImage(_DAMAGED)
    n_pixels = size[0] * size[1]
    parts = [_unpack(frame[start:end], n_pixels) for start, end in pairwise(starts)]
    if count == 1:
        return parts[0].reshape(size)
    high, low = (part.astype(np.uint16) for part in parts)
    return (high << np.uint16(8) | low).reshape(size)


def _unpack(packed: bytes, size_bytes: int) -> npt.NDArray[np.uint8]:
    """Unpack `size_bytes` bytes of PackBits (PS3.5, G.3.1); bytes after them are not read."""
    if len(packed) > size_bytes + size_bytes // _OVERHEAD + _SHORT:
        raise UnreadableImage(_DAMAGED)
    unpacked = bytearray()
    at = 0
    while len(unpacked) < size_bytes:
        if at + 1 >= len(packed):
            raise UnreadableImage(_DAMAGED)
        head = packed[at]
        if head < 128:  # noqa: PLR2004  head + 1 literal bytes
            unpacked += packed[at + 1 : at + 2 + head]
            at += 2 + head
        else:  # one byte 257 - head times; 128 is nothing
            if head > 128:  # noqa: PLR2004
                unpacked += packed[at + 1 : at + 2] * (257 - head)
            at += 2 if head > 128 else 1  # noqa: PLR2004
    return np.frombuffer(unpacked, np.uint8, size_bytes)


def _read_jpeg(frame: bytes, size: Size) -> tuple[Pixels, int]:
    """Decode a JPEG of 8 bits strictly, as other films, and one of 12 bits by GDCM."""
    marker, precision = _check_jpeg(frame, size)
    if marker == _EXTENDED_FRAME and precision == 12:  # noqa: PLR2004  bits a sample (T.81, table B.2)
        return _read_by_gdcm(frame, size, precision, gdcm.TransferSyntax.JPEGExtendedProcess2_4), precision
    source = jpeg.parse(frame)
    return source.read(), precision


def _read_jpeg_lossless(frame: bytes, size: Size) -> tuple[Pixels, int]:
    """Decode a lossless JPEG (T.81, process 14, any predictor)."""
    marker, precision = _check_jpeg(frame, size)
    if marker != _LOSSLESS_FRAME:
        raise UnreadableImage(_DAMAGED)
    return _read_by_gdcm(frame, size, precision, gdcm.TransferSyntax.JPEGLosslessProcess14), precision


def _check_jpeg(frame: bytes, size: Size) -> tuple[int, int]:
    """Walk the markers up to the end marker, which must exist; return the frame's marker and bits per sample."""
    frames = [(marker, bytes(body)) for marker, body in jpeg.segments(frame) if marker in jpeg.FRAMES]
    if len(frames) != 1:
        raise UnreadableImage(_DAMAGED)
    marker, header = frames[0]
    return marker, _check_header(header, size)


def _check_header(header: bytes, size: Size) -> int:
    """Check a JPEG's or JPEG-LS's frame header against the file; return its bits per sample."""
    if len(header) < jpeg.FRAME_SIZE:
        raise UnreadableImage(_DAMAGED)
    frame_size = int.from_bytes(header[1:3]), int.from_bytes(header[3:5])
    _check_frame(size, frame_size, components=header[5], bits=header[0])
    return header[0]


def _check_frame(size: Size, frame_size: Size, components: int, bits: int) -> None:
    """Check that a frame has the file's size and is grey of 2 to 16 bits."""
    if frame_size != size:
        raise UnreadableImage(_OTHER_SIZE)
    if components != 1 or not 2 <= bits <= 16:  # noqa: PLR2004  bits
        raise UnsupportedFormat(_NO_GREY)


def _read_by_gdcm(frame: bytes, size: Size, bits: int, syntax: int) -> Pixels:
    """Decode one frame of one sample by GDCM, in memory.

    Raises:
        UnreadableImage: GDCM does not return the expected number of bytes.
    """
    image = _gdcm_image(frame, size, bits, syntax)
    text = image.GetBuffer() or ""  # the bytes as a string; None where GDCM cannot decode
    data = bytearray()
    for at in range(0, len(text), _PIECE):  # encoding all at once takes three times the memory
        data += text[at : at + _PIECE].encode("utf-8", "surrogateescape")
    return _shaped(data, size, bits)


def _shaped(data: bytearray, size: Size, bits: int) -> Pixels:
    """Return a library's bytes, one or two a pixel, as an array; some libraries pad them to an even number."""
    count = size[0] * size[1]
    expected = count * _bytes_of(bits)
    if len(data) not in {expected, expected + expected % 2}:
        raise UnreadableImage(_DAMAGED)
    pixels = np.frombuffer(data, np.uint8, count) if expected == count else _words(data, count)
    return pixels.reshape(size)


def _words(data: bytes | bytearray | memoryview, count: int, order: str = "<") -> npt.NDArray[np.uint16]:
    return np.frombuffer(data, f"{order}u2", count).astype(np.uint16, copy=False)


def _bytes_of(bits: int) -> int:
    return (bits + 7) // 8


def _gdcm_image(frame: bytes, size: Size, bits: int, syntax: int) -> Any:  # Any: it has no types
    piece = gdcm.Fragment()
    piece.SetByteStringValue(frame)
    pieces = gdcm.SequenceOfFragments.New()
    pieces.AddFragment(piece)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(pieces.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((size[1], size[0], 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    image.SetPhotometricInterpretation(grey)
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 * _bytes_of(bits), bits, bits - 1, 0))
    return image


def _read_jpeg_ls(frame: bytes, size: Size) -> tuple[Pixels, int]:
    """Decode JPEG-LS (T.87), lossless or near-lossless; CharLS refuses truncated and damaged data."""
    header = next((body for marker, body in jpeg.segments(frame) if marker == _JPEG_LS_FRAME), None)
    bits = _check_header(b"" if header is None else bytes(header), size)
    if not frame.rstrip(b"\0").endswith(_END):  # CharLS needs 4 s to find out
        raise UnreadableImage(_DAMAGED)
    data, _ = jpeg_ls.decode_pixel_data(frame)
    return _shaped(data, size, bits), bits


def _read_jpeg_2000(frame: bytes, size: Size) -> tuple[Pixels, int]:
    """Decode JPEG 2000 (T.800); undo Pillow's shift of values to the top of 8 or 16 bits and offset of signed ones."""
    start = frame.find(_START_OF_CODESTREAM)
    if start < 0 or len(frame) < start + 43:
        raise UnreadableImage(_DAMAGED)
    header = frame[start + 8 : start + 43]
    right, bottom, left, top = (int.from_bytes(header[at : at + 4]) for at in range(0, 16, 4))
    bits = (header[34] & 0x7F) + 1
    _check_frame(size, (bottom - top, right - left), int.from_bytes(header[32:34]), bits)
    with Image.open(io.BytesIO(frame[start:]), formats=("JPEG2000",)) as picture:
        picture.load()
        values: Pixels = np.asarray(picture)
    one = values.dtype.type(1)
    values = values >> one * (8 * _bytes_of(bits) - bits)
    return (values ^ (one << one * (bits - 1)) if header[34] & 0x80 else values), bits


_READERS: Final[Mapping[Coding, Callable[[bytes, Size], tuple[Pixels, int]]]] = MappingProxyType({
    Coding.JPEG: _read_jpeg,
    Coding.JPEG_LOSSLESS: _read_jpeg_lossless,
    Coding.JPEG_LS: _read_jpeg_ls,
    Coding.JPEG_2000: _read_jpeg_2000,
})  # fmt: skip
