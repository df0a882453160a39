"""Where uploads are decoded: a process apart, its pool of children and the waiting line in front of them.

The web process hands bytes in and gets a `Film` or a refusal; it never parses an upload itself. Plain sockets and
locks, so that greenlets take turns under gevent and threads without it. Below it, `decoder_client` holds one
decoder process and checks its answers; `decoder_process` is the other side.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from shared.domain import Film
from shared.errors import DecodeLimit, DecoderBusy
from shared.imaging.decode import Decoded, check_input_size, make_film
from shared.imaging.decoder_client import DECODER_COMMAND, Decoder, exchange

START_S: Final = 30.0
"""What a decoder may take to start on a loaded machine, above the time of a film; 0.3 s are usual."""
_ATTEMPTS: Final = 2
_CLOSING: Final = "The decoder is shutting down; send the film again."


class Sandbox:
    """The decoder as the web process sees it; safe for threads, greenlets and forks.

    The decoder process starts at the first film and again whenever it has died. It belongs to the process that
    started it: after a fork, the child starts its own.

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

    def decode(self, data: bytes) -> Film:
        """Decode one upload in a child of the decoder process.

        Raises:
            RefusedUpload: one of its classes; `DecodeLimit` where the child did not live to answer.
            DecoderBusy: the waiting line is full, or the decoder died twice.
        """
        check_input_size(len(data))
        line = self._own_line()
        with line.seat(self._timeout_s):
            return make_film(data, self._decode_seated(line, data))

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

    def _decode_seated(self, line: _Line, data: bytes) -> Decoded:
        """Ask the decoder, and a new one if it died meanwhile: its death says nothing about the film."""
        for _ in range(_ATTEMPTS):
            decoder = line.living_decoder()
            try:
                with decoder.connect() as film:
                    return exchange(film, data, time.monotonic() + self._timeout_s + START_S)
            except (EOFError, ConnectionError) as error:
                if decoder.is_alive():
                    raise DecodeLimit(
                        "The film took more time or memory than we allow; export it as a plain PNG or JPEG."
                    ) from error
            except TimeoutError:
                decoder.end()
        raise DecoderBusy("The decoder had to be restarted; send the film again.")

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
    """One process's decoder, its seats and the places of its waiting line."""

    def __init__(self, command: Sequence[str], workers: int, waiting: int) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._decoder: Decoder | None = None
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

    def living_decoder(self) -> Decoder:
        """The decoder; a new one where there is none or it has died.

        Raises:
            DecoderBusy: closed meanwhile.
        """
        with self._lock:
            if self._is_closed:
                raise DecoderBusy(_CLOSING)
            if self._decoder is None or not self._decoder.is_alive():
                self._end_decoder()
                self._decoder = Decoder.start(self._command)
            return self._decoder

    def close(self) -> None:
        """End the decoder for good."""
        with self._lock:
            self._is_closed = True
            self._end_decoder()

    def forget(self) -> None:
        """Let go of a decoder that belongs to the process this one was forked from."""
        if self._decoder:
            self._decoder.forget()

    def _end_decoder(self) -> None:
        if self._decoder:
            self._decoder.end()
        self._decoder = None
