"""`python -m shared.webhooks.alive`: a health check, exit 0 where this host's dispatcher polled lately, else 1."""

from __future__ import annotations

import sys
import time
from typing import Final

from shared.errors import AppError
from shared.settings import load_settings
from shared.webhooks.run import sign_of_life

ALIVE_S: Final = 60.0
"""Maximal age of the sign of life; a poll may wait for the database for some time."""


def main() -> int:
    """Return the exit status."""
    try:
        return 0 if time.time() - sign_of_life(load_settings()).stat().st_mtime < ALIVE_S else 1
    except FileNotFoundError:
        return 1
    except (AppError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
