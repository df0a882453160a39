"""How a test waits for what must come: until it is there, however busy the machine. It measures nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LIMIT_S = 180.0
"""Only a test that fails waits so long. A service of many processes starts within it, whatever else runs beside."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.1

Found = TypeVar("Found")


def wait_until(is_so: Callable[[], Found], what: str) -> Found:
    """Poll until `is_so()` is truthy and return it; fail naming `what`."""
    give_up_at, pause_s = time.monotonic() + LIMIT_S, FIRST_PAUSE_S
    while not (found := is_so()):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"waited {LIMIT_S:.0f} s in vain: {what}")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return found
