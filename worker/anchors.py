"""The heads of the audit chain as log lines, which collectors of logs keep outside the database.

The purge loop of each worker calls it; a lock lets one worker at a time do the work.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Final

from shared.db import audit_anchors, locks
from shared.db.audit_anchors import Anchor
from shared.log import get_logger
from shared.wiring import Resources

log = get_logger(__name__)

LOCK: Final = "anchors"
EVERY_S: Final = 600.0


def log_anchors(resources: Resources, worker: str, known: frozenset[Anchor] = frozenset()) -> frozenset[Anchor]:
    """Log an `audit.anchored` line for each tenant whose chain has grown.

    Args:
        known: what this returned before: these heads are not logged again.

    Returns:
        The heads as they are now; `known` if another worker holds the lock.

    Raises:
        DatabaseDown: the next pass retries.
    """
    database = resources.database
    with database.begin_core() as sql:
        if not locks.take(sql, LOCK, worker, timedelta(seconds=EVERY_S), database.now(sql)):
            return known
    with database.read() as session:
        heads = frozenset(audit_anchors.read_heads(session))
    for anchor in sorted(heads - known, key=lambda each: each.stream):
        log.info("audit.anchored", **asdict(anchor))
    return heads
