"""One decoder process and its children as their owner sees them; and an exchange that trusts no answer.

Used by `Sandbox` only. Sizes, types and words that come back are checked here; digests are computed
on this side, so a decoder that was taken over by a film cannot lie about them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from io import FileIO
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import numpy as np

from shared.errors import DecoderBusy
from shared.greenlets import run_where_long
from shared.imaging.decode import Decoded
from shared.imaging.decoder_header import TYPES, Header, distrusted
from shared.imaging.decoder_process import (
    CHILD_END,
    CHILD_NUMBER,
    HEADER_SIZE,
    PIXELS_AT,
    SHARED_BYTES,
    UPLOAD_SIZE,
)
from shared.log import get_logger

log = get_logger(__name__)

DECODER_COMMAND: Final = (sys.executable, "-I", "-m", "shared.imaging.decoder_process")
ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType({"OPENBLAS_NUM_THREADS": "1"})
"""All that the decoder is told: a process that forks should have one thread, and numpy would start some."""
SHARED_KEPT_BYTES: Final = 4 << 20
"""Of the shared file; what larger films took of it is given back at once, so that idle children hold little."""
_END_S: Final = 5.0
"""What a decoder may take to say how a child ended."""
_MAX_HEADER_BYTES: Final = 4096
_RESET_SIGNALS: Final = (signal.SIGALRM, signal.SIGCHLD, signal.SIGTERM, signal.SIGXCPU)


@dataclass(slots=True, eq=False)
class Child:
    """A child of a decoder, which decodes one film after the other.

    Attributes:
        decoder: whose child it is.
        number: what the decoder knows it by.
        socket: where it is told of films and answers.
        memory: where films go in and pixels come out, see `make_shared_file`.
        tenant: whose films it decodes; none for one film only.
        films: how many it was given.
        idle_since: when it answered last, by `time.monotonic`.
    """

    decoder: DecoderProcess
    number: int
    socket: socket.socket
    memory: FileIO
    tenant: str | None
    films: int = 0
    idle_since: float = 0.0

    def ask(self, data: bytes, deadline: float) -> Decoded:
        """Have it decode one upload, see `exchange`; it is closed unless it answers with pixels.

        Raises:
            RefusedUpload, EOFError, ConnectionError, TimeoutError: as `exchange`.
        """
        try:
            if self.films:
                self._check_quiet()
                self.decoder.tell(self.number)
            self.films += 1
            decoded = exchange(self.socket, self.memory, data, deadline)
            if len(data) + decoded.pixels.nbytes > SHARED_KEPT_BYTES:
                clear(self.memory)
        except BaseException:
            self.close()
            raise
        self.idle_since = time.monotonic()
        return decoded

    def end(self) -> int | None:
        """How it ended, see `CHILD_END`; it is killed where it runs. None where the decoder is gone, or stuck."""
        self.close()
        try:
            return self.decoder.end_of(self.number)
        except OSError:
            return None

    def _check_quiet(self) -> None:
        """What a child says unasked would be taken for its answer on the next film.

        Raises:
            ConnectionError: it said something, or is gone.
        """
        self.socket.settimeout(0.0)
        try:
            self.socket.recv(1)
        except BlockingIOError:
            return
        raise ConnectionAbortedError

    def close(self) -> None:
        """Let it end; safe to call again."""
        self.socket.close()
        self.memory.close()


@dataclass(frozen=True, slots=True)
class DecoderProcess:
    """A decoder process: its `pid` and the `control` socket that tells it what to do."""

    pid: int
    control: socket.socket
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def start(cls, command: Sequence[str]) -> Self:
        """Start it by exec: the control socket is its standard input, all else is closed or /dev/null.

        Not by `subprocess`: under gevent that needs the main thread's event loop, and warns of objects that a
        fork copied.

        Raises:
            DecoderBusy: there is no descriptor, no memory or no such command.
        """
        try:
            control, its_end = socket.socketpair()
        except OSError as error:
            raise _without_means(error) from error
        try:
            pid = _spawn(command, its_end)
        except OSError as error:
            control.close()
            raise _without_means(error) from error
        finally:
            its_end.close()
        control.setblocking(False)
        return cls(pid, control)

    def connect(self, tenant: str | None = None) -> Child:
        """A new child of the decoder.

        Raises:
            ConnectionError: the decoder is gone.
            DecoderBusy: there is no descriptor or no memory.
        """
        memory = make_shared_file()
        try:
            ours, its_end = socket.socketpair()
        except OSError as error:
            memory.close()
            raise _without_means(error) from error
        with its_end:
            child = Child(self, next(self._numbers), ours, memory, tenant)
            try:
                self.tell(child.number, its_end.fileno(), child.memory.fileno())
            except ConnectionError:
                child.close()
                raise
        return child

    def tell(self, number: int, *descriptors: int) -> None:
        """Say that this child is given a film; with its ends' descriptors, that it is to be made first.

        Raises:
            ConnectionError: the decoder is gone.
        """
        try:
            socket.send_fds(self.control, [CHILD_NUMBER.pack(number)], descriptors)
        except OSError as error:
            raise ConnectionAbortedError from error

    def end_of(self, number: int) -> int:
        """See `Child.end`.

        Raises:
            ConnectionError, TimeoutError: the decoder is gone or stuck.
        """
        ours, its_end = socket.socketpair()
        with ours:
            with its_end:
                self.tell(number, its_end.fileno())
            ours.settimeout(_END_S)
            answer = ours.recv(CHILD_END.size)
        if len(answer) < CHILD_END.size:
            raise ConnectionAbortedError
        (end,) = CHILD_END.unpack(answer)
        return int(end)

    def is_alive(self) -> bool:
        """False once its end of the control socket is closed; that comes before a film's socket closes."""
        try:
            return bool(self.control.recv(1))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def end(self) -> int | None:
        """Kill it (its children die with it) and wait; safe to call again.

        Returns:
            Its exit status as `os.waitstatus_to_exitcode` has it; none where an event loop, or a call before, has it.
        """
        self.control.close()
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if not pid:
                os.kill(self.pid, signal.SIGKILL)
                _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            return None
        return os.waitstatus_to_exitcode(status)

    def forget(self) -> None:
        """Close this process's copy of the control socket; the decoder lives on for its owner."""
        self.control.close()


def _spawn(command: Sequence[str], control: socket.socket) -> int:
    """Start a decoder with this end of its control socket; its pid."""
    return os.posix_spawn(
        command[0],
        list(command),
        ENVIRONMENT,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, control.fileno(), 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsigmask=(),
        setsigdef=_RESET_SIGNALS,
    )


def make_shared_file() -> FileIO:
    """A file in memory of `SHARED_BYTES`, which one child and this process share; see `decoder_process`.

    It is read and written here by calls, never by a map: were it cut short under a map, that would end us.

    Raises:
        DecoderBusy: there is no memory or no descriptor for it.
    """
    try:
        if sys.platform == "linux":
            descriptor = os.memfd_create("plainfilm")
        else:
            descriptor, path = tempfile.mkstemp()
            Path(path).unlink()
        file = FileIO(descriptor, "r+")
        clear(file)
    except OSError as error:
        raise _without_means(error) from error
    return file


def clear(memory: FileIO) -> None:
    """Give back what films took of it."""
    os.ftruncate(memory.fileno(), 0)
    os.ftruncate(memory.fileno(), SHARED_BYTES)


def exchange(film: socket.socket, memory: FileIO, data: bytes, deadline: float) -> Decoded:
    """Give one upload and take its pixels.

    Args:
        film: the connected socket of one child.
        memory: the file shared with it.
        data: the upload.
        deadline: when to give up, by `time.monotonic`.

    Raises:
        RefusedUpload: what the child said, or that its answer made no sense.
        EOFError, ConnectionError, TimeoutError: the child or the whole decoder is gone or stuck.
        DecoderBusy: there is no memory for the upload.
    """
    try:
        written = run_where_long(len(data), lambda: os.pwrite(memory.fileno(), data, 0))
    except OSError as error:
        raise _without_means(error) from error
    if written < len(data):
        raise _without_means()
    film.settimeout(max(deadline - time.monotonic(), 0.001))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have ended, and said why
        film.sendall(UPLOAD_SIZE.pack(len(data)))
    (size_bytes,) = HEADER_SIZE.unpack(_receive(film, HEADER_SIZE.size, deadline))
    if size_bytes > _MAX_HEADER_BYTES:
        raise distrusted()
    header = Header.parse(bytes(_receive(film, size_bytes, deadline)))
    if not header.is_confined:
        _tell_unconfined()
    pixels = np.empty((header.height_px, header.width_px), TYPES[header.bit_depth])
    read = run_where_long(pixels.nbytes, lambda: os.preadv(memory.fileno(), [pixels.data], PIXELS_AT))
    if read < pixels.nbytes:
        raise EOFError
    return Decoded(pixels, header.kind, header.mode)


@cache
def _tell_unconfined() -> None:
    """Once a process: films are read all the same, under limits alone."""
    log.warning("decoder.unconfined", advice="the kernel takes no seccomp filter: see SECURITY.md")


def _receive(film: socket.socket, size_bytes: int, deadline: float) -> bytearray:
    """Exactly so many bytes before the deadline; EOFError where the child ends before."""
    received = bytearray(size_bytes)
    view = memoryview(received)
    while view:
        film.settimeout(max(deadline - time.monotonic(), 0.001))
        count = film.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return received


def _without_means(error: OSError | None = None) -> DecoderBusy:
    """No memory, no descriptor, no process: the cause goes to the log."""
    return DecoderBusy(
        "The service lacks memory or descriptors to read films with just now; send it again in a moment.",
        cause=error.strerror if error else None,
    )
