"""The transfer syntaxes that we read, and the names of others (PS3.6, annex A)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final


class Coding(Enum):
    """How the pixels of a frame are encoded."""

    NONE = auto()
    RUN_LENGTHS = auto()
    JPEG = auto()
    JPEG_LOSSLESS = auto()
    JPEG_LS = auto()
    JPEG_2000 = auto()


@dataclass(frozen=True, slots=True)
class Syntax:
    """One transfer syntax: byte order, whether elements omit their VR (implicit), the coding of the pixels."""

    coding: Coding
    is_little: bool = True
    is_implicit: bool = False

    @property
    def is_compressed(self) -> bool:
        """Whether the pixels come in pieces of a compressed frame."""
        return self.coding is not Coding.NONE


_ROOT: Final = "1.2.840.10008.1.2"

SYNTAXES: Final[Mapping[str, Syntax]] = MappingProxyType({
    _ROOT: Syntax(Coding.NONE, is_implicit=True),
    f"{_ROOT}.1": Syntax(Coding.NONE),
    f"{_ROOT}.2": Syntax(Coding.NONE, is_little=False),
    f"{_ROOT}.5": Syntax(Coding.RUN_LENGTHS),
    f"{_ROOT}.4.50": Syntax(Coding.JPEG),
    f"{_ROOT}.4.51": Syntax(Coding.JPEG),
    f"{_ROOT}.4.57": Syntax(Coding.JPEG_LOSSLESS),
    f"{_ROOT}.4.70": Syntax(Coding.JPEG_LOSSLESS),
    f"{_ROOT}.4.80": Syntax(Coding.JPEG_LS),
    f"{_ROOT}.4.81": Syntax(Coding.JPEG_LS),
    f"{_ROOT}.4.90": Syntax(Coding.JPEG_2000),
    f"{_ROOT}.4.91": Syntax(Coding.JPEG_2000),
})  # fmt: skip
"""All syntaxes that we read. Deflated is not among them: 306 KB of it inflated to 301 MB."""

_OTHERS: Final[Mapping[str, str]] = MappingProxyType({
    f"{_ROOT}.1.98": "Encapsulated Uncompressed",
    f"{_ROOT}.1.99": "Deflated Explicit VR Little Endian",
    f"{_ROOT}.4.92": "JPEG 2000 Part 2",
    f"{_ROOT}.4.93": "JPEG 2000 Part 2",
    f"{_ROOT}.4.94": "JPIP Referenced",
    f"{_ROOT}.4.95": "JPIP Referenced Deflate",
    f"{_ROOT}.4.100": "MPEG2 video",
    f"{_ROOT}.4.101": "MPEG2 video",
    f"{_ROOT}.4.102": "MPEG-4 video",
    f"{_ROOT}.4.103": "MPEG-4 video",
    f"{_ROOT}.4.104": "MPEG-4 video",
    f"{_ROOT}.4.107": "HEVC video",
    f"{_ROOT}.4.108": "HEVC video",
    f"{_ROOT}.4.110": "JPEG XL",
    f"{_ROOT}.4.111": "JPEG XL",
    f"{_ROOT}.4.112": "JPEG XL",
    f"{_ROOT}.4.201": "High-Throughput JPEG 2000",
    f"{_ROOT}.4.202": "High-Throughput JPEG 2000",
    f"{_ROOT}.4.203": "High-Throughput JPEG 2000",
    f"{_ROOT}.8.1": "Deflated Image Frame",
})  # fmt: skip


def name_of(uid: str) -> str:
    """Return the name of a syntax that we do not read; the file's own text is never repeated."""
    return _OTHERS.get(uid, "an unknown transfer syntax")
