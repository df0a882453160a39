"""Named points on a film's way at which tests kill or stop the process. In service each is an empty call.

A point does nothing until a test calls `arm`; no product code and no setting does.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Fault(StrEnum):
    """The points at which a process may die, in the order of a film's way."""

    FILM_DECODED = "film_decoded"
    BLOB_WRITTEN = "blob_written"
    BLOB_STORED = "blob_stored"
    JOB_INSERTED = "job_inserted"
    JOB_COMMITTED = "job_committed"
    JOB_RUNG = "job_rung"
    FILM_CLAIMED = "film_claimed"
    CLAIM_COMMITTED = "claim_committed"
    FILM_LOADED = "film_loaded"
    FILM_INFERRED = "film_inferred"
    RESULT_WRITTEN = "result_written"
    RESULT_COMMITTED = "result_committed"
    LEASE_GIVEN_BACK = "lease_given_back"


_armed: dict[Fault, Callable[[], None]] = {}


def reach(point: Fault) -> None:
    """Call the function that `arm` set for this point; in service there is none."""
    act = _armed.get(point)
    if act:
        act()


def arm(point: Fault, act: Callable[[], None]) -> None:
    """Have `act` called whenever this process reaches `point`."""
    _armed[point] = act
