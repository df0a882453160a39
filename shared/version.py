"""The version of this plainfilm, stored with each result, since another version may answer otherwise."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ANSWER_SOURCES: Final = ("shared/imaging/*.py", "shared/verdict.py", "worker/engine/*.py")
"""The files that determine an answer, given bytes and weights: decoding, preprocessing, network and verdict."""

DIGITS: Final = 8


def digest(root: Path, patterns: Iterable[str] = ANSWER_SOURCES) -> str:
    """Return the first `DIGITS` hex digits of a SHA-256 over the names and bytes of these files below `root`."""
    total = hashlib.sha256()
    files = (path for pattern in patterns for path in root.glob(pattern) if not path.name.startswith("."))
    for path in sorted(files):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:DIGITS]


PACKAGE_VERSION: Final = importlib.metadata.version("plainfilm")

CODE_VERSION: Final = f"{PACKAGE_VERSION}+{digest(Path(__file__).parents[1])}"
"""The package's version and a digest of the code that answers: an earlier build's answer, even under the same package
version, must not pass for this build's.
"""
