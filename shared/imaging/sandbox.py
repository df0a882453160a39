"""Where uploads are decoded: a process apart, its pool of children and the waiting line in front of them.

The web process hands bytes in and gets a `Film` or a refusal; it never parses an upload itself. Plain sockets and
locks, so that greenlets take turns under gevent and threads without it. Below it, `decoder_client` holds one
decoder process and checks its answers; `decoder_process` is the other side.

A child decodes films of one tenant only, and no other film after one that it refused, so a film that takes over its
child reaches no other tenant's films. A refusal or crash of a child that had other films before is not held against the
film: it is tried again in a new child, unless it used up its time. Nor is SIGKILL: when memory runs out, the kernel may
kill any process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from shared.domain import Film
from shared.errors import DecodeLimit, DecoderBusy, RefusedUpload
from shared.greenlets import run_where_long
from shared.imaging.decode import Decoded, check_input_size, make_film
from shared.imaging.decoder_client import DECODER_COMMAND, Child, DecoderProcess
from shared.imaging.decoder_process import CHILD_FILMS
from shared.log import get_logger

log = get_logger(__name__)

START_S: Final = 30.0
"""What a decoder may take to start on a loaded machine, above the time of a film; 0.3 s are usual."""
CHILD_IDLE_S: Final = 5.0
"""A child that had no film for so long is given none; its own alarm ends it."""
_ATTEMPTS: Final = 2
_NOT_THE_FILMS: Final = frozenset({None, -signal.SIGKILL})
"""Ends of a child for which nobody blames its film: its decoder's, and one by a signal from outside."""
_OVER_LIMIT: Final = "The film took more time or memory than we allow; export it as a plain PNG or JPEG."
_CLOSING: Final = "The decoder is shutting down; send the film again."


class Sandbox:
    """The decoder as the web process sees it; safe for threads, greenlets and forks.

    The decoder process starts at the first film, or when it is told to, and again whenever it has died. It belongs to
    the process that started it: after a fork, the child starts its own.

    Args:
        workers: films decoded at once; the number of processors by default.
        waiting: films that may wait for one of those.
        timeout_s: wall-clock seconds that one film may take, and that one may wait.
        command: how the decoder is started; tests give hostile ones.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        waiting: int = 64,
        timeout_s: float = 20.0,
        command: Sequence[str] = DECODER_COMMAND,
    ) -> None:
        self._workers = workers or os.cpu_count() or 1
        self._waiting = waiting
        self._timeout_s = timeout_s
        self._command = [*command, str(timeout_s)]
        self._lines: dict[int, _Line] = {}
        self._is_closed = False

    def start(self) -> None:
        """Let the decoder load its libraries before the first film comes; where it cannot be, that film is told."""
        with contextlib.suppress(DecoderBusy):
            self._own_line().living_decoder()

    def decode(self, data: bytes, tenant: str | None = None, sha256: str | None = None) -> Film:
        """Decode one upload in a child of the decoder process.

        Args:
            data: the upload.
            tenant: whose it is: its child may have decoded, and may decode, others of this tenant. Without one, it
                gets a child of its own.
            sha256: of the upload, in hex, where the caller has worked it out.

        Raises:
            RefusedUpload: one of its classes; `DecodeLimit` where the child did not live to answer.
            DecoderBusy: the waiting line is full, or the decoder died twice.
        """
        check_input_size(len(data))
        line = self._own_line()
        with line.seat(self._timeout_s):
            decoded = self._decode_seated(line, data, tenant)
        return run_where_long(
            decoded.pixels.nbytes, lambda: make_film(decoded, sha256 or hashlib.sha256(data).hexdigest())
        )

    def close(self) -> None:
        """End the decoder process and its children; films under way are refused as busy."""
        self._is_closed = True
        line = self._lines.pop(os.getpid(), None)
        if line:
            line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decode_seated(self, line: _Line, data: bytes, tenant: str | None) -> Decoded:
        """Ask a child at hand, else a new one; of a new decoder if that died: its death says nothing of the film."""
        used = line.take(tenant)
        if used is not None:
            try:
                return self._ask(line, used, data)
            except (EOFError, ConnectionError) as error:
                if used.end() == -signal.SIGALRM:
                    raise DecodeLimit(_OVER_LIMIT) from error
            except (TimeoutError, RefusedUpload):
                pass
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(EOFError, ConnectionError, TimeoutError):
                return self._ask_new(line, data, tenant)
        raise DecoderBusy("The decoder had to be restarted; send the film again.")

    def _ask_new(self, line: _Line, data: bytes, tenant: str | None) -> Decoded:
        """Ask a new child.

        Raises:
            RefusedUpload: what it said; `DecodeLimit` where it ended, and for nothing but this film.
            EOFError, ConnectionError, TimeoutError: the film may be tried again.
        """
        child = line.living_decoder().connect(tenant)
        try:
            return self._ask(line, child, data)
        except (EOFError, ConnectionError) as error:
            if child.end() in _NOT_THE_FILMS:
                raise
            raise DecodeLimit(_OVER_LIMIT) from error

    def _ask(self, line: _Line, child: Child, data: bytes) -> Decoded:
        """One film; then the child is at hand for the next. A decoder whose child does not answer in time is ended."""
        try:
            decoded = child.ask(data, time.monotonic() + self._timeout_s + START_S)
        except TimeoutError:
            child.decoder.end()
            raise
        line.keep(child)
        return decoded

    def _own_line(self) -> _Line:
        """The waiting line of this very process; a forked child lets go of its parent's."""
        if self._is_closed:
            raise DecoderBusy(_CLOSING)
        own = os.getpid()
        line = self._lines.get(own)
        if line is None:
            for pid in [pid for pid in self._lines if pid != own]:
                self._lines.pop(pid).forget()
            line = self._lines.setdefault(own, _Line(self._command, self._workers, self._waiting))
        return line


class _Line:
    """One process's decoder, its idle children, its seats and the places of its waiting line."""

    def __init__(self, command: Sequence[str], workers: int, waiting: int) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._decoder: DecoderProcess | None = None
        self._idle: list[Child] = []
        self._most_idle = workers
        self._is_closed = False
        self._seats = threading.Semaphore(workers)
        self._places = threading.Semaphore(workers + waiting)

    @contextlib.contextmanager
    def seat(self, timeout_s: float) -> Iterator[None]:
        """Wait for one of the seats.

        Raises:
            DecoderBusy: the line is full, or no seat came free in `timeout_s` seconds.
        """
        if not self._places.acquire(blocking=False):
            raise DecoderBusy("Too many films are waiting to be read; send it again in a moment.")
        try:
            if not self._seats.acquire(timeout=timeout_s):
                raise DecoderBusy("The film waited too long to be read; send it again in a moment.")
            try:
                yield
            finally:
                self._seats.release()
        finally:
            self._places.release()

    def living_decoder(self) -> DecoderProcess:
        """The decoder; a new one where there is none or it has died.

        Raises:
            DecoderBusy: closed meanwhile.
        """
        with self._lock:
            if self._is_closed:
                raise DecoderBusy(_CLOSING)
            if self._decoder is None or not self._decoder.is_alive():
                self._bury_decoder()
                self._decoder = DecoderProcess.start(self._command)
            return self._decoder

    def take(self, tenant: str | None) -> Child | None:
        """The child of this tenant that was idle for the shortest time, if it may have another film."""
        with self._lock:
            long_ago = time.monotonic() - CHILD_IDLE_S
            fresh = [child for child in self._idle if child.idle_since > long_ago]
            for child in self._idle:
                if child not in fresh:
                    child.close()
            mine = next((child for child in reversed(fresh) if tenant and child.tenant == tenant), None)
            self._idle = [child for child in fresh if child is not mine]
            return mine

    def keep(self, child: Child) -> None:
        """Have it at hand for the next film of its tenant; let it end where it is used up, or others came later."""
        with self._lock:
            if self._is_closed or child.tenant is None or child.films >= CHILD_FILMS:
                child.close()
                return
            self._idle.append(child)
            if len(self._idle) > self._most_idle:
                self._idle.pop(0).close()

    def close(self) -> None:
        """End the decoder for good."""
        with self._lock:
            self._is_closed = True
            self._end_decoder()

    def forget(self) -> None:
        """Let go of a decoder that belongs to the process this one was forked from."""
        self._close_idle()
        if self._decoder:
            self._decoder.forget()

    def _bury_decoder(self) -> None:
        """Say how a decoder ended that nobody told to end: one that cannot start does so at each film."""
        dead = self._decoder
        if dead:
            log.warning("decoder.ended", decoder=dead.pid, status=self._end_decoder())

    def _end_decoder(self) -> int | None:
        """See `DecoderProcess.end`; none where there was no decoder, too."""
        self._close_idle()
        ended, self._decoder = self._decoder, None
        return ended.end() if ended else None

    def _close_idle(self) -> None:
        for child in self._idle:
            child.close()
        self._idle.clear()
