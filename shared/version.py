"""Which plainfilm this is: stored with each result, since another version may conclude otherwise."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ANSWERING: Final = ("shared/imaging/*.py", "shared/verdict.py", "worker/engine/*.py")
"""What makes an answer of bytes and weights: decoding, preprocessing, the network, what is concluded."""

DIGITS: Final = 8


def digest(root: Path, patterns: Iterable[str] = ANSWERING) -> str:
    """The first `DIGITS` hex digits of a SHA-256 over the names and bytes of these files below `root`."""
    found = hashlib.sha256()
    files = (path for pattern in patterns for path in root.glob(pattern) if not path.name.startswith("."))
    for path in sorted(files):
        found.update(f"{path.relative_to(root).as_posix()}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:DIGITS]


PACKAGE_VERSION: Final = importlib.metadata.version("plainfilm")

CODE_VERSION: Final = f"{PACKAGE_VERSION}+{digest(Path(__file__).parents[1])}"
"""The package's, and behind it which code answers: what an earlier build said of a film, of one version or another, is
not to pass for what this one says.
"""
