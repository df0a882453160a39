"""Sample films for the demo and the tests: each a blend of several films, so that no person's film is shipped."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


def paths() -> list[Path]:
    """Return the paths of the sample films (PNG), sorted by name."""
    return sorted(Path(__file__).parent.glob("*.png"))


@cache
def digests() -> frozenset[str]:
    """Return the SHA-256 of each sample film's file, in hex; the files are read once."""
    return frozenset(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths())
