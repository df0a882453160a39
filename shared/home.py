"""The folder of all state: made for its owner alone, and checked before a part of the service starts."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from shared import private_files
from shared.errors import InvalidRequest
from shared.settings import Settings


def prepare(settings: Settings, say: Callable[[str], None]) -> None:
    """Make the home with mode 0700 where it is absent; warn where other users may enter an existing one.

    Raises:
        InvalidRequest: the home cannot be made or written to; names PLAINFILM_HOME.
    """
    home = settings.home
    try:
        private_files.make_folder(home)
    except OSError as error:
        raise InvalidRequest(f"PLAINFILM_HOME {home} cannot be used: {error.strerror or error}.") from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise InvalidRequest(f"PLAINFILM_HOME {home} cannot be used: it is not writable.")
    warning = find_openness(home)
    if warning:
        say(warning)


def free_bytes(settings: Settings) -> int:
    """Return the free space of the home's disk or of its films' disk, whichever has less; they may not exist yet."""
    return min(shutil.disk_usage(nearest_folder(each)).free for each in (settings.home, settings.blobs))


def is_open_to_films(settings: Settings) -> bool:
    """Return whether the films' folder, or where it is to be made, may be written to."""
    return os.access(nearest_folder(settings.blobs), os.W_OK)


def nearest_folder(folder: Path) -> Path:
    """Return the folder, or its nearest ancestor that exists."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def find_openness(home: Path) -> str | None:
    """Return a warning where other users of this machine may enter the home; None where not, or it does not exist."""
    if home.exists() and stat.S_IMODE(home.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        return f"other users of this machine may look into {home}: chmod 700 {home}"
    return None
