"""Hostile and odd uploads, made here from a seed, each under 1 MB, with the refusal that each must get.

`HOSTILE` is refused, `ODD` is decoded and must look as another decoder sees it. For tests of the decoder, of the
sandbox, and of the whole way through HTTP.
"""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from shared.errors import Malformed, RefusedUpload, TooManyPixels, UnreadableImage, UnsupportedFormat
from shared.imaging.png import MAX_CHUNKS, SIGNATURE
from tests.factories import (
    GREY,
    PALETTE,
    RGB,
    RGB_ALPHA,
    make_exif,
    make_jpeg,
    make_pixels,
    make_png,
    make_png_chunk,
    make_raw_png,
)

CANARY = "DOE^JANE^19700101"
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Left, top, step across, step down of each pass of an interlaced PNG (section 8.2)."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """An upload that must be refused, and by which class."""

    make: Callable[[], bytes]
    refusal: type[RefusedUpload]


def cut_jpeg(data: bytes, share: float, *, end: bytes = b"") -> bytes:
    """Keep the header and a share of the entropy-coded data; `end` may be a false end marker."""
    start = data.index(b"\xff\xda")
    return data[: start + 20 + int((len(data) - start - 24) * share)] + end


def zero_run(data: bytes, share: float, length: int = 2000) -> bytes:
    """Put a run of zeros into the entropy-coded data."""
    start = data.index(b"\xff\xda") + 20
    at = start + int((len(data) - start - 2 - length) * share)
    return data[:at] + bytes(length) + data[at + length :]


def film_jpeg(**options: object) -> bytes:
    """A JPEG with enough in it to be cut: 256 x 256 with noise."""
    noise = np.random.default_rng(7).integers(0, 60, (256, 256), np.uint8)
    return make_jpeg(pixels=make_pixels(height_px=256, width_px=256) // 2 + noise, **options)


def film_png() -> bytes:
    """A PNG with enough in it to be cut."""
    return make_png(pixels=np.random.default_rng(7).integers(0, 255, (96, 96), np.uint8))


def jpeg_claiming(width_px: int, height_px: int, *, frame: int = 0xC0, precision: int = 8) -> bytes:
    """A real JPEG whose frame header says something else."""
    data = film_jpeg()
    at = data.index(b"\xff\xc0")
    head = struct.pack(">BBHBHH", 0xFF, frame, 11, precision, height_px, width_px)
    return data[:at] + head + data[at + 9 :]


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = film_jpeg(progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last[:2000] * count + b"\xff\xd9"


def with_segments(data: bytes, segment: bytes) -> bytes:
    """Put segments behind the JPEG's start marker."""
    return data[:2] + segment + data[2:]


def segment(marker: int, body: bytes) -> bytes:
    """One JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def saved_as(format_name: str, **options: object) -> bytes:
    """The usual picture in another format of Pillow's."""
    with io.BytesIO() as file:
        Image.fromarray(make_pixels()).save(file, format_name, **options)
        return file.getvalue()


def apng() -> bytes:
    """An animation of two frames."""
    frames = [Image.fromarray(make_pixels(seed=seed)) for seed in (1, 2)]
    with io.BytesIO() as file:
        frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
        return file.getvalue()


def mpo() -> bytes:
    """Two JPEGs in one file, as stereo cameras write it."""
    frames = [Image.fromarray(make_pixels(seed=seed)) for seed in (0, 2)]
    with io.BytesIO() as file:
        frames[0].save(file, "MPO", save_all=True, append_images=frames[1:])
        return file.getvalue()


def ycck() -> bytes:
    """A CMYK JPEG that says its channels are YCCK."""
    data = film_jpeg(mode="CMYK")
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\x02" + data[at + 1 :]


def zipped(name: str) -> bytes:
    """A ZIP with one entry."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"film")  # of no date, or it would be another every other second
        return file.getvalue()


def adam7_columns(width_px: int, height_px: int) -> Iterator[int]:
    """How many pixels each stored row of an interlaced film has, pass by pass (PNG, section 8.2)."""
    for left, top, step_x, step_y in ADAM7:
        yield from [len(range(left, width_px, step_x))] * len(range(top, height_px, step_y))


def bad_checksums() -> Iterator[tuple[str, Hostile]]:
    """A wrong CRC in each kind of chunk."""
    text = make_png_chunk(kind=b"tEXt", body=b"Title\0film")
    palette = make_png_chunk(kind=b"PLTE", body=bytes(range(12)))
    data = make_raw_png(colour=PALETTE, before=[palette, text])
    for kind in (b"IHDR", b"PLTE", b"tEXt", b"IDAT", b"IEND"):
        at = data.index(kind) - 4
        end = at + 12 + int.from_bytes(data[at : at + 4])
        broken = data[: end - 1] + bytes([data[end - 1] ^ 1]) + data[end:]
        yield f"png_crc_{kind.decode()}", Hostile(lambda broken=broken: broken, UnreadableImage)


def bombs() -> Iterator[tuple[str, Hostile]]:
    """Millions of pixels in a few bytes, of each kind."""
    kinds = {"grey": (8, GREY), "rgb": (8, RGB), "16bit": (16, RGB_ALPHA), "palette": (8, PALETTE)}
    for side in (9000, 13000, 14000):
        for name, (bits, colour) in kinds.items():
            for interlaced in (False, True):

                def make(side: int = side, bits: int = bits, colour: int = colour, i: bool = interlaced) -> bytes:  # noqa: FBT001 - bound here
                    palette = make_png_chunk(kind=b"PLTE", body=bytes(768))
                    return make_raw_png(
                        width_px=side, height_px=side, bits=bits, colour=colour, interlaced=i,
                        idat=zlib.compress(bytes(10**6)), before=[palette] if colour == PALETTE else [],
                    )  # fmt: skip

                yield f"png_bomb_{side}_{name}_{interlaced}", Hostile(make, TooManyPixels)


def cuts() -> Iterator[tuple[str, Hostile]]:
    """Films cut at several places, with the chunk or the end marker mended."""
    for percent in (1, 25, 50, 75, 99):
        share = percent / 100

        def png(share: float = share) -> bytes:
            return film_png()[: int(len(film_png()) * share)]

        def idat(share: float = share) -> bytes:
            body = zlib.compress(np.random.default_rng(1).bytes(41 * 40))
            return make_raw_png(idat=body[: int(len(body) * share)])

        def jpeg(share: float = share) -> bytes:
            return cut_jpeg(film_jpeg(), share)

        def jpeg_ended(share: float = share) -> bytes:
            return cut_jpeg(film_jpeg(), share, end=b"\xff\xd9")

        def jpeg_zeroed(share: float = share) -> bytes:
            return zero_run(film_jpeg(), share)

        for make in (png, idat, jpeg, jpeg_ended, jpeg_zeroed):
            yield f"cut_{make.__name__}_{percent}", Hostile(make, UnreadableImage)


def other_formats() -> Iterator[tuple[str, Hostile]]:
    """All that is no PNG and no JPEG, whatever its name may be."""
    contents = {
        "one_byte": b"\x89",
        "half_signature": SIGNATURE[:7],
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "html": b"<!doctype html><script>alert(1)</script>",
        "php": b"<?php system($_GET['c']); ?>",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n",
        "pdf": b"%PDF-1.7\n%%EOF",
        "zip": zipped("film.png"),
        "gzip": gzip.compress(bytes(10**6)),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "pickle": pickle.dumps({"film": 1}),
        "keras": zipped("model.weights.h5"),
        "heic": b"\0\0\0\x18ftypheic" + bytes(100),
        "text": b"not a film",
        "zeros": bytes(5000),
    }
    for name, data in contents.items():
        yield name, Hostile(lambda data=data: data, UnsupportedFormat)
    for name in ("TIFF", "GIF", "BMP", "WEBP", "JPEG2000", "PPM", "ICO", "TGA", "PCX"):
        yield name.lower(), Hostile(lambda name=name: saved_as(name), UnsupportedFormat)


HOSTILE: Mapping[str, Hostile] = {
    "empty": Hostile(lambda: b"", Malformed),
    "png_signature_only": Hostile(lambda: SIGNATURE, UnreadableImage),
    "png_0x0": Hostile(lambda: make_raw_png(width_px=0, height_px=0, idat=b"x"), UnreadableImage),
    "png_0x40": Hostile(lambda: make_raw_png(width_px=0, idat=b"x"), UnreadableImage),
    "png_1x1": Hostile(lambda: make_raw_png(width_px=1, height_px=1), TooManyPixels),
    "png_31x40": Hostile(lambda: make_raw_png(width_px=31), TooManyPixels),
    "png_65535": Hostile(lambda: make_raw_png(width_px=65535, height_px=65535, idat=b"x"), TooManyPixels),
    "png_8193_wide": Hostile(lambda: make_raw_png(width_px=8193, height_px=1000), TooManyPixels),
    "png_too_long": Hostile(lambda: make_raw_png(width_px=40, height_px=401), TooManyPixels),
    "png_no_idat": Hostile(lambda: SIGNATURE + make_raw_png()[8:33] + make_png_chunk(kind=b"IEND"), UnreadableImage),
    "png_header_lies": Hostile(
        lambda: make_raw_png(width_px=6000, height_px=6000, idat=zlib.compress(bytes(1000))), UnreadableImage
    ),
    "png_rows_missing": Hostile(lambda: make_raw_png(rows=bytes(41 * 39)), UnreadableImage),
    "png_rows_missing_interlaced": Hostile(lambda: make_raw_png(rows=bytes(41 * 39), interlaced=True), UnreadableImage),
    "png_white_rows_missing": Hostile(lambda: make_raw_png(rows=(b"\0" + b"\xff" * 40) * 39), UnreadableImage),
    "png_filter_9": Hostile(lambda: make_raw_png(rows=b"\x09" + bytes(41 * 40)), UnreadableImage),
    "png_not_deflate": Hostile(lambda: make_raw_png(idat=b"film" * 100), UnreadableImage),
    "png_depth_3": Hostile(lambda: make_raw_png(bits=3), UnreadableImage),
    "png_colour_5": Hostile(lambda: make_raw_png(colour=5), UnreadableImage),
    "png_filter_method_1": Hostile(lambda: _with_ihdr(struct.pack(">IIBBBBB", 40, 40, 8, 0, 0, 1, 0)), UnreadableImage),
    "png_short_ihdr": Hostile(lambda: _with_ihdr(b"\0\0\0\x28"), UnreadableImage),
    "png_two_ihdr": Hostile(lambda: make_raw_png(before=[make_raw_png()[8:33]]), UnreadableImage),
    "png_chunk_before_ihdr": Hostile(
        lambda: SIGNATURE + make_png_chunk(kind=b"CgBI", body=bytes(4)) + make_raw_png()[8:], UnreadableImage
    ),
    "png_no_palette": Hostile(lambda: make_raw_png(colour=PALETTE), UnreadableImage),
    "png_huge_chunk": Hostile(lambda: SIGNATURE + b"\xff\xff\xff\xffIHDR" + bytes(50), UnreadableImage),
    "png_70000_chunks": Hostile(
        lambda: make_raw_png(before=[make_png_chunk(kind=b"prVt")] * (MAX_CHUNKS + 1)), UnreadableImage
    ),
    "apng": Hostile(apng, UnsupportedFormat),
    "jpeg_signature_only": Hostile(lambda: b"\xff\xd8\xff", UnreadableImage),
    "jpeg_no_scan": Hostile(lambda: b"\xff\xd8\xff\xd9", UnreadableImage),
    "jpeg_first_200_bytes": Hostile(lambda: film_jpeg()[:200], UnreadableImage),
    "jpeg_claims_12000": Hostile(lambda: jpeg_claiming(12000, 12000)[:1000] + b"\xff\xd9", TooManyPixels),
    "jpeg_claims_6000": Hostile(lambda: jpeg_claiming(6000, 6000)[:1000] + b"\xff\xd9", UnreadableImage),
    "jpeg_claims_more": Hostile(lambda: jpeg_claiming(256, 512), UnreadableImage),
    "jpeg_claims_height_0": Hostile(lambda: jpeg_claiming(256, 0), UnreadableImage),
    "jpeg_claims_1x1": Hostile(lambda: jpeg_claiming(1, 1), TooManyPixels),
    "jpeg_12_bit": Hostile(lambda: jpeg_claiming(256, 256, frame=0xC1, precision=12), UnsupportedFormat),
    "jpeg_lossless": Hostile(lambda: jpeg_claiming(256, 256, frame=0xC3), UnsupportedFormat),
    "jpeg_arithmetic": Hostile(lambda: jpeg_claiming(256, 256, frame=0xC9), UnsupportedFormat),
    "jpeg_2_components": Hostile(
        lambda: with_segments(film_jpeg(), segment(0xC0, b"\x08\x01\0\x01\0\x02")), UnreadableImage
    ),
    "jpeg_short_frame": Hostile(lambda: with_segments(film_jpeg(), segment(0xC0, b"\x08")), UnreadableImage),
    "jpeg_two_frames": Hostile(
        lambda: with_segments(film_jpeg(), segment(0xC0, b"\x08\0\x40\0\x40\x01\x01\x11\0")), UnreadableImage
    ),
    "jpeg_1000_scans": Hostile(lambda: jpeg_of_scans(1000)[:900_000] + b"\xff\xd9", UnreadableImage),
    "jpeg_5000_comments": Hostile(lambda: with_segments(film_jpeg(), segment(0xFE, b"hi") * 5000), UnreadableImage),
    "jpeg_fill_run": Hostile(lambda: with_segments(film_jpeg(), b"\xff" * 100_000 + b"\0"), UnreadableImage),
    "jpeg_segment_over_end": Hostile(lambda: b"\xff\xd8\xff\xe1\xff\xff" + bytes(50), UnreadableImage),
    **dict(bad_checksums()),
    **dict(bombs()),
    **dict(cuts()),
    **dict(other_formats()),
}

ODD: Mapping[str, Callable[[], bytes]] = {
    "png_trailing_garbage": lambda: make_png() + b"<script>alert(1)</script>" + zipped("a"),
    "png_text_bomb": lambda: make_raw_png(
        before=[make_png_chunk(kind=b"zTXt", body=b"a\0\0" + zlib.compress(bytes(5 * 10**7), 9))]
    ),
    "png_icc_bomb": lambda: make_raw_png(
        before=[make_png_chunk(kind=b"iCCP", body=b"a\0\0" + zlib.compress(bytes(5 * 10**7), 9))]
    ),
    "png_long_stream": lambda: make_raw_png(rows=bytes(41 * 80)),
    "png_split_idat": lambda: _split_idat(make_png()),
    "png_black": lambda: make_png(pixels=np.zeros((64, 64), np.uint8)),
    "png_white": lambda: make_png(pixels=np.full((64, 64), 255, np.uint8)),
    "png_1_bit": lambda: make_png(mode="1"),
    "png_2_bit": lambda: make_raw_png(bits=2, rows=(b"\0" + b"\x1b" * 10) * 40),
    "png_rgb": lambda: make_png(mode="RGB"),
    "png_palette": lambda: make_png(mode="P"),
    "png_16_bit_rgb": lambda: make_raw_png(bits=16, colour=RGB, rows=(b"\0" + b"\x12\x34\x56" * 80) * 40),
    "png_interlaced": lambda: make_raw_png(interlaced=True, rows=bytes(41 * 50)),
    "png_interlaced_16_bit": lambda: make_raw_png(
        interlaced=True, bits=16, rows=b"".join(b"\0" + b"\x77" * n * 2 for n in adam7_columns(40, 40))
    ),
    "jpeg_grey": film_jpeg,
    "jpeg_colour": lambda: film_jpeg(mode="RGB"),
    "jpeg_progressive": lambda: film_jpeg(mode="RGB", progressive=True),
    "jpeg_cmyk": lambda: film_jpeg(mode="CMYK"),
    "jpeg_ycck": ycck,
    "jpeg_restart_storm": lambda: film_jpeg(restart_marker_blocks=1),
    "jpeg_fill_bytes": lambda: with_segments(film_jpeg(), b"\xff" * 5000),
    "jpeg_ten_apps_of_64_kb": lambda: with_segments(film_jpeg(), segment(0xE5, bytes(65_533)) * 10),
    "jpeg_zip_behind": lambda: film_jpeg() + zipped("evil.sh"),
    "jpeg_broken_exif": lambda: with_segments(film_jpeg(), segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "jpeg_thumbnail_of_another": lambda: with_segments(
        film_jpeg(), segment(0xE1, b"Exif\0\0" + make_exif() + make_jpeg(pixels=make_pixels(seed=9)))
    ),
    "mpo": mpo,
}


def _with_ihdr(body: bytes) -> bytes:
    return SIGNATURE + make_png_chunk(kind=b"IHDR", body=body) + make_raw_png()[33:]


def _split_idat(data: bytes) -> bytes:
    """Cut the one IDAT into pieces of seven bytes."""
    at = data.index(b"IDAT") - 4
    size = int.from_bytes(data[at : at + 4])
    body = data[at + 8 : at + 8 + size]
    pieces = [make_png_chunk(kind=b"IDAT", body=body[i : i + 7]) for i in range(0, size, 7)]
    return data[:at] + b"".join(pieces) + data[at + 12 + size :]
