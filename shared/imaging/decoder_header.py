"""The header of a child's answer on one film, checked field by field: a film that took the child over may forge it.

Used by `decoder_client` only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from shared.errors import RefusedUpload, UnreadableImage
from shared.imaging.decode import KINDS, MODES, check_size

TYPES: Final[Mapping[int, npt.DTypeLike]] = MappingProxyType({8: np.uint8, 16: np.uint16})
"""The pixels' type by their bit depth."""
_MAX_DETAIL_CHARS: Final = 400


@dataclass(frozen=True, slots=True)
class Header:
    """A child's description of its pixels.

    Attributes:
        kind, mode, bit_depth, height_px, width_px: see `decode`.
        is_confined: whether the kernel restricts the child's system calls, see `seccomp`.
    """

    kind: str
    mode: str
    bit_depth: int
    height_px: int
    width_px: int
    is_confined: bool

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Parse a header and check every field.

        Raises:
            RefusedUpload: the child's refusal, or the refusal of an invalid answer.
        """
        try:
            fields = json.loads(text)
            refusal = _find_refusal(**fields) if "code" in fields else None
            header = None if refusal else cls(**fields)
        except (ValueError, TypeError, RecursionError):
            raise distrusted() from None
        if refusal:
            raise refusal
        if header is None or not header.is_sound():
            raise distrusted()
        return header

    def is_sound(self) -> bool:
        """Whether every field has a type and a value that an unmodified child may send."""
        words, numbers = (self.kind, self.mode), (self.bit_depth, self.height_px, self.width_px)
        if not all(type(word) is str for word in words) or not all(type(number) is int for number in numbers):
            return False
        if type(self.is_confined) is not bool:
            return False
        try:
            check_size(self.width_px, self.height_px)
        except RefusedUpload:
            return False
        return self.kind in KINDS and self.mode in MODES and self.bit_depth in TYPES


def _find_refusal(code: str, detail: str) -> RefusedUpload:
    """Return the child's refusal as an exception; only known codes and one printable line are accepted."""
    refusal = next((kind for kind in RefusedUpload.__subclasses__() if kind.code == code), None)
    if refusal is None or type(detail) is not str or not detail.isprintable() or len(detail) > _MAX_DETAIL_CHARS:
        return distrusted()
    return refusal(detail)


def distrusted() -> UnreadableImage:
    """Return the refusal of a film whose child gave an answer that no unmodified child gives."""
    return UnreadableImage("The film could not be read; export it again as a plain PNG or JPEG.")
