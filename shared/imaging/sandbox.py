"""The sandbox in which uploads are decoded: a separate process, its pool of children and the waiting line before them.

The web process hands bytes in and gets a `Film` or a refusal; it never parses an upload itself. The sandbox uses plain
sockets and locks, so that it works with greenlets under gevent and with threads elsewhere. `decoder_client` is the
client of one decoder process and checks its answers; `decoder_process` is the other side.

A child decodes films of one tenant only, and no film after one that it refused, so a film that takes over its child
reaches no other tenant's films. If a child that decoded other films before refuses a film or crashes, the film is
retried in a new child, unless it used up its time. The same holds after SIGKILL: when memory runs out, the kernel may
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
"""For a decoder to start on a loaded machine, in addition to a film's time; 0.3 s are usual."""
CHILD_IDLE_S: Final = 5.0
"""A child that was idle for longer is given no film; its own alarm ends it."""
_ATTEMPTS: Final = 2
_ENDS_FROM_OUTSIDE: Final = frozenset({None, -signal.SIGKILL})
"""Exit statuses of a child that its film is not blamed for: the decoder has died, or a signal came from outside."""
_OVER_LIMIT: Final = "The film took more time or memory than we allow; export it as a plain PNG or JPEG."
_CLOSING: Final = "The decoder is shutting down; send the film again."


class Sandbox:
    """The web process's decoder; safe for threads, greenlets and forks.

    The decoder process is started at the first film or by `start`, and restarted whenever it has died. It belongs to
    the process that started it: after a fork, the child process starts its own.

    Args:
        workers: films decoded at once; the number of processors by default.
        waiting: films that may wait for a free decoder.
        timeout_s: wall-clock seconds that a film may take, and that it may wait.
        command: the command that starts the decoder; tests give hostile ones.
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
        """Let the decoder load its libraries before the first film; a failure is reported by that film's decoding."""
        with contextlib.suppress(DecoderBusy):
            self._own_line().living_decoder()

    def decode(self, data: bytes, tenant: str | None = None, sha256: str | None = None) -> Film:
        """Decode one upload in a child of the decoder process.

        Args:
            data: the upload.
            tenant: the upload's owner: its child may decode other films of this tenant. None gives it a child of
                its own.
            sha256: of the upload, in hex, where the caller has computed it.

        Raises:
            RefusedUpload: one of its subclasses; `DecodeLimit` where the child ended without an answer.
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
        """Decode in an idle child, else in a new one; retry with a new decoder if it died, which blames no film."""
        idle_child = line.take(tenant)
        if idle_child is not None:
            try:
                return self._ask(line, idle_child, data)
            except (EOFError, ConnectionError) as error:
                if idle_child.end() == -signal.SIGALRM:
                    raise DecodeLimit(_OVER_LIMIT) from error
            except (TimeoutError, RefusedUpload):
                pass
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(EOFError, ConnectionError, TimeoutError):
                return self._ask_new(line, data, tenant)
        raise DecoderBusy("The decoder had to be restarted; send the film again.")

    def _ask_new(self, line: _Line, data: bytes, tenant: str | None) -> Decoded:
        """Decode in a new child.

        Raises:
            RefusedUpload: the child's refusal; `DecodeLimit` where the film ended the child.
            EOFError, ConnectionError, TimeoutError: the film may be retried.
        """
        child = line.living_decoder().connect(tenant)
        try:
            return self._ask(line, child, data)
        except (EOFError, ConnectionError) as error:
            if child.end() in _ENDS_FROM_OUTSIDE:
                raise
            raise DecodeLimit(_OVER_LIMIT) from error

    def _ask(self, line: _Line, child: Child, data: bytes) -> Decoded:
        """Decode in this child, and keep it for the next film; end the decoder if its child does not answer in time."""
        try:
            decoded = child.ask(data, time.monotonic() + self._timeout_s + START_S)
        except TimeoutError:
            child.decoder.end()
            raise
        line.keep(child)
        return decoded

    def _own_line(self) -> _Line:
        """Return the waiting line of this process; after a fork, drop the parent process's."""
        if self._is_closed:
            raise DecoderBusy(_CLOSING)
        pid = os.getpid()
        line = self._lines.get(pid)
        if line is None:
            for other_pid in [key for key in self._lines if key != pid]:
                self._lines.pop(other_pid).forget()
            line = self._lines.setdefault(pid, _Line(self._command, self._workers, self._waiting))
        return line


class _Line:
    """One process's decoder, its idle children, its seats (films decoded at once) and its waiting line's places."""

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
        """Wait for a seat and hold it.

        Raises:
            DecoderBusy: the line is full, or no seat became free in `timeout_s` seconds.
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
        """Return the decoder; start one where there is none or it has died.

        Raises:
            DecoderBusy: the sandbox was closed meanwhile.
        """
        with self._lock:
            if self._is_closed:
                raise DecoderBusy(_CLOSING)
            if self._decoder is None or not self._decoder.is_alive():
                self._bury_decoder()
                self._decoder = DecoderProcess.start(self._command)
            return self._decoder

    def take(self, tenant: str | None) -> Child | None:
        """Take this tenant's child that was idle for the shortest time; None where all were for `CHILD_IDLE_S`."""
        with self._lock:
            long_ago = time.monotonic() - CHILD_IDLE_S
            fresh = [child for child in self._idle if child.idle_since > long_ago]
            for child in self._idle:
                if child not in fresh:
                    child.close()
            taken = next((child for child in reversed(fresh) if tenant and child.tenant == tenant), None)
            self._idle = [child for child in fresh if child is not taken]
            return taken

    def keep(self, child: Child) -> None:
        """Keep a child for the next film of its tenant; end it if it is used up, or the oldest if too many are idle."""
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
        """Drop a decoder that belongs to the process from which this one was forked."""
        self._close_idle()
        if self._decoder:
            self._decoder.forget()

    def _bury_decoder(self) -> None:
        """Log the exit status of a decoder that ended by itself, as one that cannot start does at each film."""
        dead_decoder = self._decoder
        if dead_decoder:
            log.warning("decoder.ended", decoder=dead_decoder.pid, status=self._end_decoder())

    def _end_decoder(self) -> int | None:
        """End the decoder, see `DecoderProcess.end`; None also where there was none."""
        self._close_idle()
        decoder, self._decoder = self._decoder, None
        return decoder.end() if decoder else None

    def _close_idle(self) -> None:
        for child in self._idle:
            child.close()
        self._idle.clear()
