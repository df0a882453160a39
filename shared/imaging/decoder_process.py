"""The decoder process: the only process that ever parses uploaded bytes.

`Sandbox` starts it by exec, with no secret in its environment and one descriptor: a control socket as standard input.
It imports the image libraries once, and forks children under resource limits. A child decodes one film after the other,
all of one tenant, as long as its client sends some. When the control socket closes or the parent changes, the decoder
kills its children and exits.

Each message on the control socket is a child's number, `>I`; the number of descriptors that come with it gives its
meaning (the methods of `decoder_client.DecoderProcess`):

* two, the child's socket and a memory file that it shares with its client: fork this child (`fork_child`);
* none: the child is given another film, so its deadline starts anew (`renew_deadline`);
* one: the client has given the child up; write its exit status there, `>i` (`end_child`).

In the memory file the upload is at the start, and the raw pixels are written at `PIXELS_AT`. Over the child's socket
the client sends the upload's size, `>Q`; the child answers with a JSON header preceded by its size, `>I`, or with
nothing if a limit ended it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import json
import math
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from PIL import Image

from shared.errors import RefusedUpload
from shared.imaging import seccomp
from shared.imaging.decode import MAX_INPUT_BYTES, MAX_PIXELS, Decoded, check_input_size, read_pixels
from shared.processes import keep_freed_memory

MEMORY_HEADROOM_BYTES: Final = 640 * 2**20
"""Address space of a child above the decoder's own and the shared file: 40 million pixels of progressive CMYK took
455 MiB, of an RGB PNG of 58 MiB 479.
"""
CHECK_S: Final = 1.0
"""How often the parent and the children's ages are checked; usually the socket's end is noticed at once."""
CHILD_FILMS: Final = 64
"""Films that one child may decode; the cost of starting it is then under a hundredth of each film's."""
CHILD_NUMBER: Final = struct.Struct(">I")
CHILD_END: Final = struct.Struct(">i")
"""As from `os.waitstatus_to_exitcode`: below zero a signal's number; SIGALRM's where we killed it past its deadline."""
PIXELS_AT: Final = MAX_INPUT_BYTES
SHARED_BYTES: Final = PIXELS_AT + 2 * MAX_PIXELS
"""Size of the shared file; only pages that a film has touched take memory."""
UPLOAD_SIZE: Final = struct.Struct(">Q")
HEADER_SIZE: Final = struct.Struct(">I")
_ENDS_KEPT: Final = 64
"""How many ended children are kept whose signal no client has asked for yet; a client asks at once."""
_MAX_DESCRIPTORS: Final = 2**20
_PRCTL: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38

ReadPixels = Callable[[bytes], Decoded]


@dataclass(frozen=True, slots=True)
class _Limits:
    """A child's resource limits, and its parent's pid.

    Attributes:
        timeout_s: wall-clock time for each film; the limit of processor time is `CHILD_FILMS` times this.
        memory_bytes: of address space.
        decoder: the parent's pid.
    """

    timeout_s: float
    memory_bytes: int
    decoder: int


def main(
    read: ReadPixels = read_pixels,
    warm_up: Callable[[], None] | None = None,
    headroom_bytes: int = MEMORY_HEADROOM_BYTES,
) -> None:
    """Serve films from the control socket on standard input until it closes.

    Args:
        read: decodes an upload; tests give functions that hang, crash or exhaust memory. `sys.argv[1]` is the time
            in seconds that one film may take.
        warm_up: loads everything that `read` needs before the first fork; by default for PNG and JPEG.
        headroom_bytes: as `MEMORY_HEADROOM_BYTES`.
    """
    os.closerange(3, _MAX_DESCRIPTORS)
    os.setsid()
    parent = os.getppid()
    keep_freed_memory()
    (warm_up or _warm_up)()
    with socket.socket(fileno=0) as control:
        memory_bytes = _address_space_bytes() + headroom_bytes + SHARED_BYTES
        _serve(control, parent, _Limits(float(sys.argv[1]), memory_bytes, decoder=os.getpid()), read)


def _warm_up() -> None:
    """Decode two PNGs and a JPEG of our own, so that no child has to import a module: it may open no file."""
    for name, mode in (("PNG", "L"), ("PNG", "P"), ("JPEG", "CMYK")):
        with io.BytesIO() as file:
            Image.new(mode, (64, 64)).save(file, name)
            read_pixels(file.getvalue())
    gc.freeze()


def _serve(control: socket.socket, parent: int, limits: _Limits, read: ReadPixels) -> None:
    """Handle the messages of the control socket until it closes or the parent is gone; then end all children."""
    children: dict[int, _Child] = {}
    while os.getppid() == parent:
        _reap(children)
        if not select.select([control], [], [], CHECK_S)[0]:
            continue
        message, descriptors, _, _ = socket.recv_fds(control, CHILD_NUMBER.size, 2)
        if not message:
            break
        (number,) = CHILD_NUMBER.unpack(message)
        deadline = time.monotonic() + limits.timeout_s + CHECK_S
        match descriptors:
            case [film, shared]:
                pid = os.fork()
                if not pid:
                    control.detach()
                    _answer_and_exit(film, shared, limits, read)
                os.close(film)
                os.close(shared)
                children[number] = _Child(pid, deadline)
            case [reply]:
                _end_child(reply, children.pop(number, None))
            case _ if number in children:
                children[number].deadline = deadline
    for child in children.values():
        child.deadline = 0.0
    _reap(children)


@dataclass(slots=True)
class _Child:
    """The decoder's record of a child.

    Attributes:
        pid: the child's process.
        deadline: when it is killed unless it is given another film before.
        end: its exit status, see `CHILD_END`; None while it runs.
    """

    pid: int
    deadline: float
    end: int | None = None

    def check(self) -> None:
        """Record the exit status if the child has ended; kill it past its deadline."""
        if self.end is not None:
            return
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.end = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > self.deadline:
            self.kill()
            self.end = -signal.SIGALRM

    def kill(self) -> None:
        """Kill the child unless it has ended; if it ends by itself just now, its own status is recorded."""
        if self.end is None:
            os.kill(self.pid, signal.SIGKILL)
            self.end = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _reap(children: dict[int, _Child]) -> None:
    """Kill children past their deadline, and forget ended ones, except the last `_ENDS_KEPT` that a signal ended."""
    for child in children.values():
        child.check()
    killed = [number for number, child in children.items() if child.end is not None and child.end < 0]
    exited = [number for number, child in children.items() if child.end is not None and child.end >= 0]
    for number in (*exited, *killed[:-_ENDS_KEPT]):
        del children[number]


def _end_child(reply: int, child: _Child | None) -> None:
    """Kill a child where it still runs, and write its exit status to the socket `reply`; 0 for an unknown child."""
    if child:
        child.check()
        child.kill()
    with socket.socket(fileno=reply) as client, contextlib.suppress(OSError):
        client.setblocking(True)
        client.sendall(CHILD_END.pack(child.end if child and child.end else 0))


def _answer_and_exit(film: int, shared: int, limits: _Limits, read: ReadPixels) -> NoReturn:
    """Run as the child: confine itself, answer films until no more come, exit. An exception ends it at once."""
    try:
        memory = mmap.mmap(shared, SHARED_BYTES)
        _close_all_but(film)  # the file's descriptor, too: through it, a child could divert its client's writes
        connection = socket.socket(fileno=film)  # closed by the exit: its client then asks for the exit status
        connection.setblocking(True)  # a socket made under gevent is non-blocking
        is_confined = _confine(limits)
        while _answer(connection, memory, read, limits.timeout_s, is_confined=is_confined):
            signal.setitimer(signal.ITIMER_REAL, limits.timeout_s)
    finally:
        os._exit(0)


def _close_all_but(film: int) -> None:
    """Close all descriptors but a child's socket and its output, /dev/null."""
    os.close(0)
    os.closerange(3, film)
    os.closerange(film + 1, _MAX_DESCRIPTORS)


def _confine(limits: _Limits) -> bool:
    """Confine this child irrevocably: no files, no processes, no core, bounded memory and time, few system calls.

    Returns:
        False where the kernel does not restrict its system calls, see `seccomp.confine`.
    """
    signal.setitimer(signal.ITIMER_REAL, limits.timeout_s)
    if _PRCTL:
        _PRCTL(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != limits.decoder:  # the parent died before PDEATHSIG was set: no client waits for an answer
        os._exit(0)
    for limit, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, CHILD_FILMS * math.ceil(limits.timeout_s)),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        capped = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (capped, capped))
    return seccomp.confine()


def _answer(film: socket.socket, memory: mmap.mmap, read: ReadPixels, timeout_s: float, *, is_confined: bool) -> bool:
    """Read one upload, decode it, and send its pixels or its refusal; False if this child may decode no other film."""
    size = film.recv(UPLOAD_SIZE.size, socket.MSG_WAITALL)
    if len(size) < UPLOAD_SIZE.size:
        return False
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        (size_bytes,) = UPLOAD_SIZE.unpack(size)
        check_input_size(size_bytes)
        decoded = read(memory[:size_bytes])
    except RefusedUpload as refusal:
        _send_header(film, {"code": refusal.code, "detail": refusal.detail})
        return False
    memory.seek(PIXELS_AT)
    memory.write(decoded.pixels.data)
    height_px, width_px = decoded.pixels.shape
    header = {
        "kind": decoded.kind,
        "mode": decoded.mode,
        "bit_depth": decoded.pixels.dtype.itemsize * 8,
        "height_px": height_px,
        "width_px": width_px,
        "is_confined": is_confined,
    }
    _send_header(film, header)
    return True


def _send_header(film: socket.socket, header: dict[str, object]) -> None:
    """Send a header preceded by its size; a client that has closed its end is no error."""
    text = json.dumps(header).encode()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        film.sendall(HEADER_SIZE.pack(len(text)) + text)


def _address_space_bytes() -> int:
    """Return the size of this process's address space, with which its children start; 0 where it is not known."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


if __name__ == "__main__":
    main()
