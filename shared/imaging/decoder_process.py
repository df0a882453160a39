"""The decoder process: the only one that ever looks into uploaded bytes.

`Sandbox` starts it by exec, with no secret in its environment and one descriptor: a control socket as standard input.
It imports the image libraries once, and forks children under resource limits. A child decodes one film after the other,
all of one tenant, as long as its client sends some. When the control socket closes or the parent changes, the decoder
kills its children and exits.

Each message on the control socket is a child's number, `>I`; the descriptors that come with it say what is wanted:

* two, the child's socket and a memory file that it shares with its client: fork this child;
* none: the child is given another film, so its deadline starts anew;
* one: the client has given the child up; write its exit status there, `>i`.

In the memory file the upload lies at the start, and the raw pixels are written at `PIXELS_AT`. Over the child's socket
the client sends the upload's size, `>Q`; the child answers with a JSON header behind its size, `>I`, or with nothing if
a limit ended it.
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
"""How often the parent and the children's ages are looked at; the usual end comes at once, by the socket."""
CHILD_FILMS: Final = 64
"""Films that one child may decode; what it cost to start it is then under a hundredth of a film."""
CHILD_NUMBER: Final = struct.Struct(">I")
CHILD_END: Final = struct.Struct(">i")
"""As `os.waitstatus_to_exitcode` has it: below zero a signal's number; SIGALRM's where we killed it past its time."""
PIXELS_AT: Final = MAX_INPUT_BYTES
SHARED_BYTES: Final = PIXELS_AT + 2 * MAX_PIXELS
"""Of the shared file; only what a film has touched of it takes memory."""
UPLOAD_SIZE: Final = struct.Struct(">Q")
HEADER_SIZE: Final = struct.Struct(">I")
_ENDS_KEPT: Final = 64
"""Children that ended by a signal and were not asked for yet; a client asks at once."""
_MAX_DESCRIPTORS: Final = 2**20
_PRCTL: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38

ReadPixels = Callable[[bytes], Decoded]


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a child may use, and its parent's pid.

    Attributes:
        timeout_s: by the wall clock for each film; of processor time as much for each of `CHILD_FILMS`, together.
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
        read: the decoder; tests give ones that hang, crash or eat memory. `sys.argv[1]` is the time in seconds
            that one film may take.
        warm_up: loads whatever `read` needs, before any child is made; that of PNG and JPEG by default.
        headroom_bytes: as `MEMORY_HEADROOM_BYTES`.
    """
    os.closerange(3, _MAX_DESCRIPTORS)
    os.setsid()
    parent = os.getppid()
    keep_freed_memory()
    (warm_up or _warm_up)()
    with socket.socket(fileno=0) as control:
        memory_bytes = _own_size_bytes() + headroom_bytes + SHARED_BYTES
        _serve(control, parent, _Limits(float(sys.argv[1]), memory_bytes, decoder=os.getpid()), read)


def _warm_up() -> None:
    """Decode two PNGs and a JPEG of our own, so that no child has to import anything: it may open no file."""
    for name, mode in (("PNG", "L"), ("PNG", "P"), ("JPEG", "CMYK")):
        with io.BytesIO() as file:
            Image.new(mode, (64, 64)).save(file, name)
            read_pixels(file.getvalue())
    gc.freeze()


def _serve(control: socket.socket, parent: int, limits: _Limits, read: ReadPixels) -> None:
    """Do as the control socket says until it closes or the parent is gone; then end all children."""
    children: dict[int, _Child] = {}
    while os.getppid() == parent:
        _end_late(children)
        if not select.select([control], [], [], CHECK_S)[0]:
            continue
        message, ends, _, _ = socket.recv_fds(control, CHILD_NUMBER.size, 2)
        if not message:
            break
        (number,) = CHILD_NUMBER.unpack(message)
        deadline = time.monotonic() + limits.timeout_s + CHECK_S
        match ends:
            case [film, shared]:
                pid = os.fork()
                if not pid:
                    control.detach()
                    _answer_and_exit(film, shared, limits, read)
                os.close(film)
                os.close(shared)
                children[number] = _Child(pid, deadline)
            case [asking]:
                _tell_end(asking, children.pop(number, None))
            case _ if number in children:
                children[number].deadline = deadline
    for child in children.values():
        child.deadline = 0.0
    _end_late(children)


@dataclass(slots=True)
class _Child:
    """A child as its decoder sees it.

    Attributes:
        pid: its process.
        deadline: when it is killed unless it is given another film before.
        end: see `CHILD_END`; none while it runs.
    """

    pid: int
    deadline: float
    end: int | None = None

    def look(self) -> None:
        """Note how it ended, if it has; past its time it is killed."""
        if self.end is not None:
            return
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.end = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > self.deadline:
            self.kill()
            self.end = -signal.SIGALRM

    def kill(self) -> None:
        """Unless it has ended; one that is about to end keeps its status."""
        if self.end is None:
            os.kill(self.pid, signal.SIGKILL)
            self.end = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _end_late(children: dict[int, _Child]) -> None:
    """Kill children that outlived their own alarm; of those that have ended, only the last killed ones are kept."""
    for child in children.values():
        child.look()
    killed = [number for number, child in children.items() if child.end is not None and child.end < 0]
    done = [number for number, child in children.items() if child.end is not None and child.end >= 0]
    for number in (*done, *killed[:-_ENDS_KEPT]):
        del children[number]


def _tell_end(asking: int, child: _Child | None) -> None:
    """Say how a child ended that its client has given up, 0 for one that is forgotten; where it runs, it is killed."""
    if child:
        child.look()
        child.kill()
    with socket.socket(fileno=asking) as client, contextlib.suppress(OSError):
        client.setblocking(True)
        client.sendall(CHILD_END.pack(child.end if child and child.end else 0))


def _answer_and_exit(film: int, shared: int, limits: _Limits, read: ReadPixels) -> NoReturn:
    """The child: confine itself, answer films until no more come, exit. An exception of ours ends it at once."""
    try:
        memory = mmap.mmap(shared, SHARED_BYTES)
        _close_all_but(film)  # and the map's own descriptor: through one, its parent's writes could be led astray
        connection = socket.socket(fileno=film)  # closed by the exit: who reads its end there may ask how it ended
        connection.setblocking(True)  # gevent's sockets come here non-blocking
        is_confined = _confine(limits)
        while _answer(connection, memory, read, limits.timeout_s, is_confined=is_confined):
            signal.setitimer(signal.ITIMER_REAL, limits.timeout_s)
    finally:
        os._exit(0)


def _close_all_but(film: int) -> None:
    """Only a child's socket, and /dev/null as output, stay open."""
    os.close(0)
    os.closerange(3, film)
    os.closerange(film + 1, _MAX_DESCRIPTORS)


def _confine(limits: _Limits) -> bool:
    """What the child cannot take back: no file, no process, no core, bounded memory and time, few system calls.

    Returns:
        False where the kernel does not bound its calls, see `seccomp.confine`.
    """
    signal.setitimer(signal.ITIMER_REAL, limits.timeout_s)
    if _PRCTL:
        _PRCTL(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != limits.decoder:  # it died before the line above: nobody waits for an answer
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
    """Read one upload, decode it, and give its pixels, or its refusal: then False, since no other film follows it."""
    size = film.recv(UPLOAD_SIZE.size, socket.MSG_WAITALL)
    if len(size) < UPLOAD_SIZE.size:
        return False
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        (size_bytes,) = UPLOAD_SIZE.unpack(size)
        check_input_size(size_bytes)
        decoded = read(memory[:size_bytes])
    except RefusedUpload as refusal:
        _say(film, {"code": refusal.code, "detail": refusal.detail})
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
    _say(film, header)
    return True


def _say(film: socket.socket, header: dict[str, object]) -> None:
    """A header with its size; a client that left is no error."""
    text = json.dumps(header).encode()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        film.sendall(HEADER_SIZE.pack(len(text)) + text)


def _own_size_bytes() -> int:
    """This process's address space, which its children start with."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


if __name__ == "__main__":
    main()
