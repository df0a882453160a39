"""What is called out of the loop, and how much of it at once."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from web import offload


def test_no_more_drawings_at_once_than_cores() -> None:
    """Each has the memory of a film; the others wait, and all come to their end."""
    cores, lock, running, most = os.cpu_count() or 1, threading.Lock(), 0, 0
    together = threading.Barrier(cores)

    def drawing() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(60)
        time.sleep(0.02)  # for one too many to come
        with lock:
            running -= 1
        return 7

    with ThreadPoolExecutor(3 * cores) as pool:
        drawn = list(pool.map(lambda _: offload.draw(drawing), range(3 * cores)))
    assert drawn == [7] * (3 * cores)
    assert most == cores
