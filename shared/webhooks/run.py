"""The process that notifies webhooks: `python -m shared.webhooks.run`, which is `plainfilm webhook run`."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

import uuid_utils

from shared import home, private_files
from shared.db.deliveries import DeliveryClaim
from shared.db.engine import build_database
from shared.exits import end_plainly
from shared.log import get_logger, logging_faults, set_up_logging
from shared.settings import Settings, load_settings
from shared.webhooks import targets
from shared.webhooks.dispatch import Dispatcher
from shared.webhooks.post import Poster

log = get_logger(__name__)

SENDERS: Final = 8
"""Deliveries that a process sends concurrently."""

LOOK_EVERY_S: Final = 1.0
LOOK_RETRY_S: Final = 5.0
"""Pause after a look that failed; nothing is claimed before one has succeeded."""
PURGE_EVERY_S: Final = 600.0
REST_S: Final = 0.05
"""Pause between two looks where there is more to do, so that other processes can write."""


class Running:
    """The dispatcher's loop, and its end."""

    def __init__(self, dispatcher: Dispatcher, sign: Path) -> None:
        self._dispatcher = dispatcher
        self._sign = sign
        self._look_at = self._purge_at = 0.0
        self._is_away = False

    def end(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Let `run` end: it begins no more deliveries and waits for the running ones. Usable as a signal handler."""
        self._dispatcher.ending.set()

    def run(self) -> None:
        """Look for events and send deliveries until `end`."""
        sending: dict[Future[None], str] = {}
        with ThreadPoolExecutor(SENDERS, "sender") as pool:
            while not self._dispatcher.ending.is_set():
                if time.monotonic() >= self._look_at:
                    self._look()
                if not self._is_away:
                    with logging_faults(log, "webhooks.claim_failed"):
                        claims = self._dispatcher.claim(SENDERS - len(sending), Counter(sending.values()))
                        sending |= {pool.submit(self._deliver, held): held.tenant for held in claims}
                sending = self._rest(sending)

    def _look(self) -> None:
        """Do one step of looking and of purging, so that new deliveries are sent before the next step."""
        self._look_at, self._is_away = time.monotonic() + LOOK_RETRY_S, True
        with logging_faults(log, "webhooks.look_failed"):
            is_more = self._dispatcher.look() > 0
            if time.monotonic() >= self._purge_at:
                self._purge_at = time.monotonic() + PURGE_EVERY_S
                if self._dispatcher.purge():
                    self._purge_at, is_more = 0.0, True
            self._look_at, self._is_away = time.monotonic() + (REST_S if is_more else LOOK_EVERY_S), False
            self._sign.touch(0o600)

    def _deliver(self, held: DeliveryClaim) -> None:
        with logging_faults(log, "webhooks.delivery_failed"):
            self._dispatcher.deliver(held)

    def _rest(self, sending: Mapping[Future[None], str]) -> dict[Future[None], str]:
        """Wait until the next look or until a sender is free; return the running deliveries with their tenants."""
        left_s = max(0.0, self._look_at - time.monotonic())
        if not sending:
            time.sleep(left_s)
            return {}
        return {future: sending[future] for future in wait(sending, left_s, FIRST_COMPLETED).not_done}


def sign_of_life(settings: Settings) -> Path:
    """Return the path of the file that this host's dispatcher touches at each look."""
    return settings.run / f"webhooks-{socket.gethostname()[:64]}"


def run(settings: Settings) -> None:
    """Notify webhooks until SIGINT or SIGTERM.

    Raises:
        WebhooksOff: the operator has not switched webhooks on.
    """
    targets.check_on(settings)
    set_up_logging(settings.log_level, "webhooks")
    logging.getLogger("httpcore").setLevel("WARNING")  # it would log addresses
    home.prepare(settings, partial(print, file=sys.stderr))
    private_files.make_folder(settings.run)
    database = build_database(settings)
    poster = Poster(targets.resolve, allow_private=settings.webhooks_private)
    dispatcher = Dispatcher(database, poster, lambda: str(uuid_utils.uuid7()), random.Random())  # noqa: S311  jitter
    sign = sign_of_life(settings)
    running = Running(dispatcher, sign)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, running.end)
    log.info("webhooks.started", pid=os.getpid(), private=settings.webhooks_private)
    try:
        running.run()
    finally:
        sign.unlink(missing_ok=True)
        database.close()


if __name__ == "__main__":
    end_plainly(lambda: run(load_settings()), "webhook")
