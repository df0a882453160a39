"""The client's side of a decoder process and its children, which trusts no answer.

Used by `Sandbox` only. Sizes, types and words of answers are checked here; digests are computed on this side, so a
decoder that was taken over by a film cannot forge them.
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
"""The decoder's whole environment: a process that forks should have one thread, and numpy would start more."""
SHARED_KEPT_BYTES: Final = 4 << 20
"""Memory of the shared file that an idle child may keep; after larger films it is released at once."""
_END_S: Final = 5.0
"""For a decoder to answer how a child ended."""
_MAX_HEADER_BYTES: Final = 4096
_RESET_SIGNALS: Final = (signal.SIGALRM, signal.SIGCHLD, signal.SIGTERM, signal.SIGXCPU)


@dataclass(slots=True, eq=False)
class Child:
    """A child of a decoder, which decodes one film after the other.

    Attributes:
        decoder: the child's parent.
        number: the child's number in the control protocol.
        socket: carries the size of each upload, and the child's answers.
        memory: the file that is shared with the child, see `make_shared_file`.
        tenant: the owner of the films that it decodes; None for a child that decodes one film only.
        films: the number of films that it was given.
        idle_since: the time of its last answer, by `time.monotonic`.
    """

    decoder: DecoderProcess
    number: int
    socket: socket.socket
    memory: FileIO
    tenant: str | None
    films: int = 0
    idle_since: float = 0.0

    def ask(self, data: bytes, deadline: float) -> Decoded:
        """Have the child decode one upload, see `exchange`; the child is closed unless it answers with pixels.

        Raises:
            RefusedUpload, EOFError, ConnectionError, TimeoutError: as `exchange`.
        """
        try:
            if self.films:
                self._check_quiet()
                self.decoder.renew_deadline(self.number)
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
        """End the child and return its exit status, see `CHILD_END`; None where the decoder is gone or stuck."""
        self.close()
        try:
            return self.decoder.end_child(self.number)
        except OSError:
            return None

    def _check_quiet(self) -> None:
        """Check that the child has sent nothing unasked: it would be taken for the answer to the next film.

        Raises:
            ConnectionError: the child has sent something, or is gone.
        """
        self.socket.settimeout(0.0)
        try:
            self.socket.recv(1)
        except BlockingIOError:
            return
        raise ConnectionAbortedError

    def close(self) -> None:
        """Close the child's socket and file, which lets it end; idempotent."""
        self.socket.close()
        self.memory.close()


@dataclass(frozen=True, slots=True)
class DecoderProcess:
    """A decoder process: its `pid` and the `control` socket of its protocol, see `decoder_process`."""

    pid: int
    control: socket.socket
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def start(cls, command: Sequence[str]) -> Self:
        """Start a decoder by exec: the control socket is its standard input, all else is closed or /dev/null.

        Not by `subprocess`: under gevent that needs the main thread's event loop, and warns of objects that a
        fork copied.

        Raises:
            DecoderBusy: there is no descriptor, no memory or no such command.
        """
        try:
            control, decoder_end = socket.socketpair()
        except OSError as error:
            raise _out_of_resources(error) from error
        try:
            pid = _spawn(command, decoder_end)
        except OSError as error:
            control.close()
            raise _out_of_resources(error) from error
        finally:
            decoder_end.close()
        control.setblocking(False)
        return cls(pid, control)

    def connect(self, tenant: str | None = None) -> Child:
        """Return a new child of the decoder.

        Raises:
            ConnectionError: the decoder is gone.
            DecoderBusy: there is no descriptor or no memory.
        """
        memory = make_shared_file()
        try:
            client_end, child_end = socket.socketpair()
        except OSError as error:
            memory.close()
            raise _out_of_resources(error) from error
        with child_end:
            child = Child(self, next(self._numbers), client_end, memory, tenant)
            try:
                self.fork_child(child.number, child_end, memory)
            except ConnectionError:
                child.close()
                raise
        return child

    def fork_child(self, number: int, film: socket.socket, memory: FileIO) -> None:
        """Have the decoder fork a child.

        Args:
            number: the child's number from now on.
            film: the child's end of its socket.
            memory: the file that it shares with this process.

        Raises:
            ConnectionError: the decoder is gone.
        """
        self._send(number, film.fileno(), memory.fileno())

    def renew_deadline(self, number: int) -> None:
        """Announce that a child is given another film, so that its deadline starts anew.

        Raises:
            ConnectionError: the decoder is gone.
        """
        self._send(number)

    def end_child(self, number: int) -> int:
        """Have the decoder end a child, killing it where it still runs; return its exit status, see `CHILD_END`.

        Raises:
            ConnectionError, TimeoutError: the decoder is gone or stuck.
        """
        client_end, decoder_end = socket.socketpair()
        with client_end:
            with decoder_end:
                self._send(number, decoder_end.fileno())
            client_end.settimeout(_END_S)
            answer = client_end.recv(CHILD_END.size)
        if len(answer) < CHILD_END.size:
            raise ConnectionAbortedError
        (end,) = CHILD_END.unpack(answer)
        return int(end)

    def _send(self, number: int, *descriptors: int) -> None:
        """Send a message on the control socket; its meaning is the number of descriptors, see `decoder_process`."""
        try:
            socket.send_fds(self.control, [CHILD_NUMBER.pack(number)], descriptors)
        except OSError as error:
            raise ConnectionAbortedError from error

    def is_alive(self) -> bool:
        """False once the decoder's end of the control socket is closed; a child's socket closes after that."""
        try:
            return bool(self.control.recv(1))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def end(self) -> int | None:
        """Kill the decoder (its children die with it) and wait for it; idempotent.

        Returns:
            Its exit status, see `os.waitstatus_to_exitcode`; None where an event loop or an earlier call reaped it.
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
    """Start a decoder with its end of the control socket; return its pid."""
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
    """Return a file in memory of `SHARED_BYTES`, to be shared with one child; see `decoder_process`.

    This process uses read and write calls, never a memory map: a child could truncate the file, and SIGBUS would end
    this process.

    Raises:
        DecoderBusy: there is no memory or no descriptor for the file.
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
        raise _out_of_resources(error) from error
    return file


def clear(memory: FileIO) -> None:
    """Release the memory that films took of the shared file."""
    os.ftruncate(memory.fileno(), 0)
    os.ftruncate(memory.fileno(), SHARED_BYTES)


def exchange(film: socket.socket, memory: FileIO, data: bytes, deadline: float) -> Decoded:
    """Give one upload to a child and return its pixels.

    Args:
        film: the connected socket of one child.
        memory: the file shared with it.
        data: the upload.
        deadline: when to give up, by `time.monotonic`.

    Raises:
        RefusedUpload: the child refused the film, or its answer was invalid.
        EOFError, ConnectionError, TimeoutError: the child or the whole decoder is gone or stuck.
        DecoderBusy: there is no memory for the upload.
    """
    try:
        written = run_where_long(len(data), lambda: os.pwrite(memory.fileno(), data, 0))
    except OSError as error:
        raise _out_of_resources(error) from error
    if written < len(data):
        raise _out_of_resources()
    film.settimeout(max(deadline - time.monotonic(), 0.001))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have ended after sending a refusal
        film.sendall(UPLOAD_SIZE.pack(len(data)))
    (size_bytes,) = HEADER_SIZE.unpack(_receive(film, HEADER_SIZE.size, deadline))
    if size_bytes > _MAX_HEADER_BYTES:
        raise distrusted()
    header = Header.parse(bytes(_receive(film, size_bytes, deadline)))
    if not header.is_confined:
        _warn_unconfined()
    pixels = np.empty((header.height_px, header.width_px), TYPES[header.bit_depth])
    read = run_where_long(pixels.nbytes, lambda: os.preadv(memory.fileno(), [pixels.data], PIXELS_AT))
    if read < pixels.nbytes:
        raise EOFError
    return Decoded(pixels, header.kind, header.mode)


@cache
def _warn_unconfined() -> None:
    """Log once per process that children run without seccomp; films are decoded all the same, under limits alone."""
    log.warning("decoder.unconfined", advice="the kernel takes no seccomp filter: see SECURITY.md")


def _receive(film: socket.socket, size_bytes: int, deadline: float) -> bytearray:
    """Return exactly `size_bytes` bytes before the deadline; raise EOFError where the child ends first."""
    received = bytearray(size_bytes)
    view = memoryview(received)
    while view:
        film.settimeout(max(deadline - time.monotonic(), 0.001))
        count = film.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return received


def _out_of_resources(error: OSError | None = None) -> DecoderBusy:
    """Return the error for a lack of memory, descriptors or processes; its cause goes to the log."""
    return DecoderBusy(
        "The service is short of memory or file descriptors for decoding; send the film again in a moment.",
        cause=error.strerror if error else None,
    )
