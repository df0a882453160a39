"""Sample films for the demo and the tests: each a blend of several films, so that no person's film is shipped."""

from __future__ import annotations

from pathlib import Path


def paths() -> list[Path]:
    """The sample films, PNG, by name."""
    return sorted(Path(__file__).parent.glob("*.png"))
