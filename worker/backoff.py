"""The delay of a retry after a transient error.

Full jitter: films that failed together are retried at different times.
"""

from __future__ import annotations

import random
from typing import Final

FIRST_S: Final = 2.0
LONGEST_S: Final = 60.0


def retry_delay_s(attempt: int, draw: random.Random) -> float:
    """Draw the delay in seconds: between 0 and 2, 4, 8, ..., at most 60.

    Args:
        attempt: 1 after the first claim.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
    """
    return draw.uniform(0, min(LONGEST_S, FIRST_S * 2 ** min(attempt - 1, 16)))
