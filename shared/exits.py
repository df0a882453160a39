"""How a command that fails ends: one line and exit status 1, no traceback."""

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
"""Each command's extra, which installs the packages that it imports."""


def end_plainly(run: Callable[[], object], command: str | None) -> None:
    """Run a command; an expected failure, also a missing extra or a full disk, is one line and exit status 1.

    Args:
        run: the command's function.
        command: its name where it needs an extra, which a missing import then stands for; else None.
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
    """Return a sentence for a user who lacks a command's extra."""
    return f"'{command}' needs '{error.name}': {how_to_get(EXTRAS.get(command, command))}"


def how_to_get(extra: str) -> str:
    """Return the command line that installs an extra."""
    return f"pip install '.[{extra}]' in the checkout, or `make run`, which brings all"
