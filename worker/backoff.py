"""How long a film waits after a transient error: full jitter, so that what failed together does not return together."""

from __future__ import annotations

import random
from typing import Final

FIRST_S: Final = 2.0
LONGEST_S: Final = 60.0


def retry_delay_s(attempt: int, draw: random.Random) -> float:
    """Between 0 and 2, 4, 8, ... seconds, at most a minute.

    Args:
        attempt: 1 after the first claim.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
    """
    return draw.uniform(0, min(LONGEST_S, FIRST_S * 2 ** min(attempt - 1, 16)))
