"""From PNG to stored grey pixels, complete or not at all.

Every chunk's length and CRC is checked here (Pillow skips the CRC of IDAT); then a library gets a file of only IHDR,
PLTE, palette transparency and IDAT, so that it never inflates or parses text, ICC and EXIF chunks. Plain grey and RGB
are decoded by kornia-rs, in a third of Pillow's time (DECISIONS 40), all else by Pillow.
Called by `decode`, inside the sandbox.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from shared.arrays import Pixels
from shared.errors import UnreadableImage, UnsupportedFormat
from shared.imaging.orientation import UPRIGHT, find_orientation

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS: Final = 65_536
"""A 64 MiB file in 8 KiB IDAT chunks has 8,192; more than this only keeps the reader busy."""
DEFLATE_MAX_RATIO: Final = 1032
"""Deflate's largest ratio of expansion (zlib's technical details): fewer IDAT bytes cannot hold the pixels."""
_PALETTE_SIZE: Final = 768
_IHDR_SIZE: Final = 13
_PIECE_BYTES: Final = 2**22
_Passes = tuple[tuple[int, int, int, int], ...]
_ONE_PASS: Final[_Passes] = ((0, 0, 1, 1),)
_ADAM7: Final[_Passes] = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip
"""Left, top, step across, step down of each pass (PNG, section 8.2)."""
_CUT: Final = "The PNG ends before its last row; export it again and send the whole file."
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_HAS_ALPHA: Final = frozenset({2, 4})
"""Channels: grey or three colours, and alpha."""
_STRIP_ROWS: Final = 64
_LUMA: Final = np.array((19595, 38470, 7471), np.uint32)
"""ITU-R 601 in 65,536ths, as in Pillow's 'L'; their sum is 65,536, so that grey in equal channels is unchanged."""
_CHANNELS: Final[Mapping[int, int]] = MappingProxyType({
    _GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4
})  # fmt: skip
MODES: Final[Mapping[tuple[int, int], str]] = MappingProxyType({
    (_GREY, 1): "1", (_GREY, 2): "L", (_GREY, 4): "L", (_GREY, 8): "L", (_GREY, 16): "I;16",
    (_RGB, 8): "RGB", (_RGB, 16): "RGB",
    (_PALETTE, 1): "P", (_PALETTE, 2): "P", (_PALETTE, 4): "P", (_PALETTE, 8): "P",
    (_GREY_ALPHA, 8): "LA", (_GREY_ALPHA, 16): "RGBA",
    (_RGB_ALPHA, 8): "RGBA", (_RGB_ALPHA, 16): "RGBA",
})  # fmt: skip
"""(colour type, bits per sample) to Pillow's mode: all that PNG's table 11.1 allows, as Pillow 13 opens them."""
_QUICK: Final[Mapping[tuple[int, int], str]] = MappingProxyType(
    {(_GREY, 8): "mono", (_GREY, 16): "mono", (_RGB, 8): "rgb"}
)
"""(colour type, bits per sample) that kornia-rs decodes to the same pixels as Pillow, to its name for the colours."""
_RAW_16_BITS: Final[Mapping[int, tuple[str, ...]]] = MappingProxyType({
    _RGB: ("RGB;16B", "RGB;16L"), _RGB_ALPHA: ("RGBA;16B", "RGBA;16L"), _GREY_ALPHA: ("RGBA",)
})  # fmt: skip
"""Colour type to the raw modes by which Pillow, limited to 8 bits a colour, returns the high and low bytes of 16.

'16L' is little-endian and keeps the second byte, which is PNG's low byte. Grey with alpha has as many bytes per pixel
as RGBA of 8 bits, and is read as such: both bytes of both channels.
"""


@dataclass(frozen=True, slots=True)
class PngSource:
    """A PNG whose chunks are complete; its pixels are not decoded yet.

    Attributes:
        mode: Pillow's name for the colours.
        width_px, height_px: as stored, before the orientation.
        orientation: 1-8.
        head: signature, IHDR and, for palettes, PLTE and tRNS; no other chunk.
        idat: the compressed pixels.
        is_interlaced: stored in Adam7's seven passes.
        filtered_size: bytes that `idat` must inflate to.
        raw_16_bits: for 16 bits a colour, see `_RAW_16_BITS`; else empty.
        quick: see `_QUICK`; None where Pillow decodes.
    """

    mode: str
    width_px: int
    height_px: int
    orientation: int
    head: bytes
    idat: bytes
    is_interlaced: bool
    filtered_size: int
    raw_16_bits: tuple[str, ...]
    quick: str | None

    def read(self) -> Pixels:
        """Decode to grey as stored: (H, W) uint8, or uint16 for 16 bits a colour; see `_grey` and `_grey_of_16_bits`.

        Raises:
            UnreadableImage: the data cannot hold, or does not hold, the pixels that the header declares.
        """
        if len(self.idat) * DEFLATE_MAX_RATIO < self.filtered_size:
            raise UnreadableImage(
                "The PNG's header declares more pixels than its data can contain; export the film again."
            )
        compact = b"".join([self.head, _chunk(b"IDAT", self.idat), _chunk(b"IEND", b"")])
        if self.quick:
            return self._read_quickly(compact, self.quick)
        pictures = [_load(compact, raw) for raw in self.raw_16_bits or (None,)]
        self._check_rows(pictures[0])
        return _grey_of_16_bits(pictures) if self.raw_16_bits else _grey(pictures[0])

    def _read_quickly(self, compact: bytes, colours: str) -> Pixels:
        """Decode by kornia-rs, to grey as in `_grey`.

        Raises:
            UnreadableImage: the data ends before the last row.
            Exception: kornia-rs cannot decode the data.
        """
        from kornia_rs import io as kornia  # noqa: PLC0415  2 MB, which processes that decode nothing do not need

        decode = kornia.decode_image_png_u16 if self.mode == "I;16" else kornia.decode_image_png_u8
        try:
            pixels = decode(compact, (self.height_px, self.width_px), colours)
        except Exception as error:  # the library has no exception class of its own
            if "enough data" in str(error):
                raise UnreadableImage(_CUT) from error
            raise
        return np.asarray(Image.fromarray(pixels).convert("L")) if colours == "rgb" else pixels[..., 0]

    def _check_rows(self, picture: Image.Image) -> None:
        """Refuse missing rows, which Pillow 13 leaves black where the data ends exactly after a row.

        A last row that is not black was decoded. Otherwise, and in interlaced files, the bytes are counted.
        """
        last_row = picture.crop((0, self.height_px - 1, self.width_px, self.height_px))
        if not self.is_interlaced and np.asarray(last_row).any():
            return
        if _inflated_size(self.idat, self.filtered_size) < self.filtered_size:
            raise UnreadableImage(_CUT)


def parse(data: bytes) -> PngSource:
    """Check every chunk and read the header.

    Raises:
        UnreadableImage: truncated, a wrong checksum, or chunks not in PNG's order.
        UnsupportedFormat: an animation.
    """
    header: bytes | None = None
    palette = transparency = b""
    idat: list[memoryview] = []
    orientation = UPRIGHT
    for kind, body in _chunks(data):
        if (header is None) != (kind == b"IHDR"):
            raise UnreadableImage("The PNG's header is missing or duplicated; export the film again.")
        match kind:
            case b"IHDR":
                header = bytes(body)
            case b"PLTE":
                palette = bytes(body)
            case b"tRNS":
                transparency = bytes(body)
            case b"eXIf":
                orientation = find_orientation(bytes(body))
            case b"IDAT":
                idat.append(body)
            case b"acTL":
                raise UnsupportedFormat("This is an animated PNG; send one film as a plain PNG or JPEG.")
    if header is None or not idat:
        raise UnreadableImage("The PNG holds no pixels; export the film again and send the whole file.")
    return _source(header, palette, transparency, idat, orientation)


def _source(header: bytes, palette: bytes, transparency: bytes, idat: list[memoryview], orientation: int) -> PngSource:
    """Put the parts together; a short palette is padded with black, as browsers do."""
    if len(header) != _IHDR_SIZE:
        raise UnreadableImage("The PNG's header is damaged; export the film again.")
    width_px, height_px, bits, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    mode = MODES.get((colour, bits))
    if mode is None or (mode == "P" and not palette):
        raise UnreadableImage("The PNG's header names a colour type that does not exist; export it again.")
    parts = [SIGNATURE, _chunk(b"IHDR", header)]
    if mode == "P":
        parts.append(_chunk(b"PLTE", palette[:_PALETTE_SIZE].ljust(_PALETTE_SIZE, b"\0")))
        parts.extend([_chunk(b"tRNS", transparency)] if transparency else [])
    return PngSource(
        mode,
        width_px,
        height_px,
        orientation,
        head=b"".join(parts),
        idat=b"".join(idat),
        is_interlaced=bool(interlace),
        filtered_size=_filtered_size(width_px, height_px, bits * _CHANNELS[colour], _ADAM7 if interlace else _ONE_PASS),
        raw_16_bits=_RAW_16_BITS.get(colour, ()) if bits == 16 else (),  # noqa: PLR2004 - bits a sample
        quick=_QUICK.get((colour, bits)),
    )


def _filtered_size(width_px: int, height_px: int, pixel_bits: int, passes: _Passes) -> int:
    """Return the number of bytes of all rows with their filter bytes, over all passes."""
    size = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width_px - left) // step_x), -(-(height_px - top) // step_y)
        size += rows * (1 + (columns * pixel_bits + 7) // 8) if columns > 0 else 0
    return size


def _inflated_size(idat: bytes, enough: int) -> int:
    """Return the number of bytes that `idat` inflates to; counting piece by piece stops at `enough`."""
    inflate = zlib.decompressobj()
    size = 0
    piece = inflate.decompress(idat, _PIECE_BYTES)
    while piece and size < enough:
        size += len(piece)
        piece = inflate.decompress(inflate.unconsumed_tail, _PIECE_BYTES)
    return size


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (type, body) up to IEND, which must exist; bytes after it are not read."""
    view = memoryview(data)
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        end = at + 12 + int.from_bytes(view[at : at + 4])
        if at + 12 > len(data) or end > len(data):
            raise UnreadableImage(_CUT)
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise UnreadableImage("The PNG was damaged in transit (a checksum does not match); send it again.")
        kind = bytes(view[at + 4 : at + 8])
        if kind == b"IEND":
            return
        yield kind, view[at + 8 : end - 4]
        at = end
    raise UnreadableImage(f"The PNG is cut into more than {MAX_CHUNKS:,} pieces; export the film again.")


def _chunk(kind: bytes, body: bytes) -> bytes:
    """Build one chunk: length, type, body, CRC."""
    return b"".join((
        len(body).to_bytes(4), kind, body, zlib.crc32(body, zlib.crc32(kind)).to_bytes(4)
    ))  # fmt: skip


def _load(data: bytes, raw: str | None) -> Image.Image:
    """Decode a PNG by Pillow; by the raw mode `raw` instead of Pillow's choice where one is named."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        if raw:
            picture.tile = [tile._replace(args=raw) for tile in picture.tile]
        picture.load()
        return picture


def _grey_of_16_bits(pictures: list[Image.Image]) -> Pixels:
    """Return the exact grey of 16 bits a colour, a strip of rows at a time; colours and transparency as in `_grey`.

    Args:
        pictures: decoded by the raw modes of `_RAW_16_BITS`.

    Returns:
        (H, W) uint16.
    """
    width_px, height_px = pictures[0].size
    grey = np.empty((height_px, width_px), np.uint16)
    for top in range(0, height_px, _STRIP_ROWS):
        strip = (0, top, width_px, min(top + _STRIP_ROWS, height_px))
        grey[top : strip[3]] = _luma_of_16_bits(_join_bytes([np.asarray(picture.crop(strip)) for picture in pictures]))
    return grey


def _join_bytes(parts: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint32]:
    """Join high and low bytes, from two arrays (h, w, C) or interleaved in one (h, w, 2 C), to (h, w, C) uint32."""
    high, low = parts if len(parts) > 1 else (parts[0][..., ::2], parts[0][..., 1::2])
    values: npt.NDArray[np.uint32] = high * np.uint32(256) + low
    return values


def _luma_of_16_bits(channels: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return the luma, with transparency on black.

    Args:
        channels: (h, w, C) uint32 up to 65535: grey and alpha, RGB, or RGBA.

    Returns:
        (h, w) uint32 up to 65535; no product here exceeds 32 bits.
    """
    has_alpha = channels.shape[2] in _HAS_ALPHA
    colours = channels[..., :-1] if has_alpha else channels
    grey: npt.NDArray[np.uint32] = colours[..., 0]
    if colours.shape[2] == len(_LUMA):
        grey = (colours @ _LUMA + np.uint32(2**15)) >> np.uint32(16)
    if has_alpha:
        grey = (grey * channels[..., -1] + np.uint32(2**15 - 1)) // np.uint32(2**16 - 1)
    return grey


def _grey(picture: Image.Image) -> Pixels:
    """Return the grey of a PNG of up to 8 bits a colour, or of 16-bit grey.

    16-bit grey stays 16-bit. Colours become ITU-R 601 luma as in Pillow's 'L'. Transparency is drawn on black, the
    film's own background. A grey or RGB file's single transparent colour (tRNS) is ignored: it would punch holes into
    the film.

    Returns:
        (H, W) uint8, or uint16 for mode 'I;16'.
    """
    if picture.mode == "I;16":
        return np.asarray(picture).astype(np.uint16, copy=False)
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    grey = picture.convert("L")
    if picture.mode in {"LA", "RGBA"}:
        alpha = picture.getchannel("A")
        if alpha.getextrema() != (255, 255):
            grey = ImageChops.multiply(grey, alpha)
    return np.asarray(grey)
