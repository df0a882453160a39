"""How a command ends that cannot do its work: one line and exit status 1, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from shared.errors import AppError, explain

EXTRAS: Final = MappingProxyType(
    {
        "web": "web",
        "worker": "worker",
        "replay": "worker",
        "train": "training",
        "evaluate": "training",
        "samples": "training",
        "crossval": "training",
        "model": "training",
    }
)
"""Command to the extra that brings what it imports."""


def end_plainly(run: Callable[[], object], command: str | None) -> None:
    """Run a command; an expected failure, a missing extra or a full disk too, is one line and exit status 1.

    Args:
        run: what it does.
        command: its name, where a missing import may be its extra's.
    """
    try:
        run()
    except ModuleNotFoundError as error:
        if command is None:
            raise
        sys.exit(what_to_install(command, error))
    except AppError as error:
        sys.exit(f"plainfilm: {explain(error)}")
    except OSError as error:
        file = f"{error.filename}: " if error.filename is not None else ""
        sys.exit(f"plainfilm: {file}{error.strerror or error}")


def what_to_install(command: str, error: ModuleNotFoundError) -> str:
    """A sentence for who lacks an extra."""
    return f"'{command}' needs '{error.name}': {how_to_get(EXTRAS.get(command, command))}"


def how_to_get(extra: str) -> str:
    """What to run for an extra."""
    return f"pip install '.[{extra}]' in the checkout, or `make run`, which brings all"
