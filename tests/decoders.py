"""A decoder that does what a hostile film may do, and looks at the processes behind a sandbox."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from concurrent.futures import Future
from pathlib import Path

from shared.domain import Film
from shared.imaging.sandbox import Sandbox
from tests.waiting import wait_until

EVIL = """
import ctypes, os, signal, socket, struct, time
import numpy as np
from shared.errors import DecodeLimit, UnreadableImage
from shared.imaging import decoder_process
from shared.imaging.decode import Decoded

def spin():
    while True:
        pass

def sleep():
    while True:
        time.sleep(1)

def still():
    pass

def late():
    time.sleep(0.5)

def held():
    while not is_released:
        time.sleep(0.01)

def crash():
    ctypes.string_at(0)

def killed():
    os.kill(os.getpid(), 9)

def memory():
    bytes(4 * 2**30)

def bug():
    raise RuntimeError("a fault of ours")

def fork():
    os.fork()

def thread():
    import threading
    threading.Thread(target=spin).start()

def write():
    open("/tmp/escaped", "w")

def read():
    open("/etc/passwd")

def connect():
    socket.socket(socket.AF_INET)

class Part(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("size", ctypes.c_size_t)]

def spy():
    seen = ctypes.create_string_buffer(8)
    mine, theirs = Part(ctypes.addressof(seen), 8), Part(id(None), 8)  # where the decoder has it too: it forked us
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.process_vm_readv(os.getppid(), ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def trace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, os.getppid(), None, None) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def end():
    os.kill(os.getppid(), 0)

def remove():
    os.unlink("/tmp/not-there")

def execute():
    os.execv("/bin/true", ["true"])

def unlimit():
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    read()

def spent():
    if films > 1:
        crash()

def stuck():
    if films > 1:
        spin()

def slander():
    if films > 1:
        raise UnreadableImage("The PNG's data is cut short or damaged.")

def tight():
    if films > 1:
        raise DecodeLimit("The PNG needs more memory than we allow; send a smaller copy.")

is_released = False

def release(*_):
    global is_released
    is_released = True

signal.signal(signal.SIGUSR1, release)  # before any fork

films = 0
left_s = 0.0

def ring():
    global left_s
    left_s = signal.setitimer(signal.ITIMER_REAL, 60)[0]

def film(data):
    global films
    films += 1
    name, start = data.decode(), time.monotonic()
    try:
        globals()[name]()
    except (OSError, ValueError, ImportError) as error:
        raise UnreadableImage(f"{name}: {type(error).__name__}.")
    pixels = np.zeros((40, 40), np.uint8)
    told = struct.pack("ddid", start, time.monotonic(), os.getpid(), left_s)
    pixels[0, : len(told)] = np.frombuffer(told, np.uint8)
    return Decoded(pixels, "png", "L")

decoder_process.main(film)
"""
"""A decoder whose films are the names of what a hostile film may do; they run inside the real child."""


EVIL_COMMAND = (sys.executable, "-I", "-c", EVIL)


def is_running(pid: int) -> bool:
    """False for a process that is gone or only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int) -> list[int]:
    """The running children of a process."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if is_running(int(child))]
    return []


def descriptors() -> set[str]:
    """The open descriptors of this process."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def settled_descriptors() -> set[str]:
    """The same, once what other tests left to the garbage collector, SQLite's files say, is closed: to compare with."""
    gc.collect()
    return descriptors()


def decoder_pid(sandbox: Sandbox) -> int:
    """The process id of a sandbox's decoder."""
    decoder = sandbox._lines[os.getpid()]._decoder
    assert decoder
    return decoder.pid


def seated_child(sandbox: Sandbox) -> int:
    """Wait for the one child that reads a film."""
    wait_until(lambda: os.getpid() in sandbox._lines and sandbox._lines[os.getpid()]._decoder, "the decoder to start")
    (child,) = wait_until(lambda: children_of(decoder_pid(sandbox)), "the child to start")
    return child


def released(sandbox: Sandbox, film: Future[Film]) -> Film:
    """A film that is `held`, once it is read: its child is told that it may be, again and again, as it may be new."""

    def tell() -> bool:
        decoder = sandbox._lines[os.getpid()]._decoder
        for child in children_of(decoder.pid) if decoder else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGUSR1)
        return film.done()

    wait_until(tell, "the film to be read")
    return film.result()
