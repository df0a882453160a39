"""What the sandbox promises: nothing a film does reaches this process, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shared.errors import (
    DecodeLimit,
    DecoderBusy,
    Malformed,
    RefusedUpload,
    TooLarge,
    TooManyPixels,
    UnreadableImage,
)
from shared.imaging.decode import MAX_INPUT_BYTES, decode
from shared.imaging.decoder_client import Decoder, exchange
from shared.imaging.decoder_process import HEADER_SIZE
from shared.imaging.sandbox import Sandbox, _Line
from tests.factories import make_jpeg, make_pixels, make_png
from tests.hostile_films import HOSTILE, ODD, Hostile

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

EVIL = """
import ctypes, os, socket, struct, time
import numpy as np
from shared.errors import UnreadableImage
from shared.imaging import decoder_process
from shared.imaging.decode import Decoded

def spin():
    while True:
        pass

def sleep():
    while True:
        time.sleep(1)

def late():
    time.sleep(0.5)

def crash():
    ctypes.string_at(0)

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

def unlimit():
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    read()

def film(data):
    name, start = data.decode(), time.monotonic()
    try:
        globals()[name]()
    except (OSError, ValueError, ImportError) as error:
        raise UnreadableImage(f"{name}: {type(error).__name__}.")
    pixels = np.zeros((40, 40), np.uint8)
    pixels[0, :16] = np.frombuffer(struct.pack("dd", start, time.monotonic()), np.uint8)
    return Decoded(pixels, "png", "L")

decoder_process.main(film)
"""
"""A decoder whose films are the names of what a hostile film may do; they run inside the real child."""
EVIL_COMMAND = (sys.executable, "-I", "-c", EVIL)


def until(condition: Callable[[], object]) -> None:
    """Wait for something that must come; the test's own time limit is generous."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


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


def decoder_pid(sandbox: Sandbox) -> int:
    """The process id of a sandbox's decoder."""
    decoder = sandbox._lines[os.getpid()]._decoder
    assert decoder
    return decoder.pid


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with two seats."""
    with Sandbox(workers=2) as made:
        yield made


@pytest.fixture
def evil() -> Iterator[Sandbox]:
    """A sandbox whose decoder does what the film says, one at a time, nobody waiting."""
    with Sandbox(workers=1, waiting=0, timeout_s=30.0, command=EVIL_COMMAND) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for films that take long."""
    with ThreadPoolExecutor(8) as made:
        yield made


def test_a_film_comes_out_as_if_decoded_here(sandbox: Sandbox) -> None:
    """Pixels, type and facts are those of `decode`, for 8 and 16 bits."""
    for data in (make_png(), make_png(pixels=make_pixels(dtype=np.uint16)), make_jpeg(mode="RGB")):
        film, expected = sandbox.decode(data), decode(data)
        np.testing.assert_array_equal(film.pixels, expected.pixels)
        assert film.pixels.dtype == expected.pixels.dtype
        assert film.facts == expected.facts


@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_odd_films_decode_inside_the_limits(make: Callable[[], bytes], shared_sandbox: Sandbox) -> None:
    """A child that may open no file decodes all that `decode` does."""
    assert shared_sandbox.decode(make()).facts == decode(make()).facts


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_films_are_refused_alike(hostile: Hostile, shared_sandbox: Sandbox) -> None:
    """A refusal comes through with its class and its sentence."""
    data = hostile.make()
    with pytest.raises(RefusedUpload) as there:
        shared_sandbox.decode(data)
    with pytest.raises(RefusedUpload) as here:
        decode(data)
    assert type(there.value) is type(here.value) is hostile.refusal
    assert there.value.detail == here.value.detail


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[Sandbox]:
    """One decoder for all films of this file that leave it unharmed."""
    with Sandbox() as made:
        yield made


def test_the_largest_film_fits_into_a_child(shared_sandbox: Sandbox) -> None:
    """40 million pixels of the most demanding kind, a progressive CMYK JPEG, are decoded within the memory."""
    pixels = np.zeros((4880, 8192), np.uint8)
    data = make_jpeg(pixels=pixels, mode="CMYK", progressive=True, quality=80)
    assert shared_sandbox.decode(data).pixels.shape == pixels.shape


def test_too_many_bytes_are_refused_unsent(sandbox: Sandbox) -> None:
    """An upload over the limit, or of nothing, never reaches a decoder."""
    with pytest.raises(TooLarge):
        sandbox.decode(bytes(MAX_INPUT_BYTES + 1))
    with pytest.raises(Malformed):
        sandbox.decode(b"")
    assert not sandbox._lines


@pytest.mark.parametrize("deed", [b"crash", b"memory", b"bug"])
def test_a_child_that_dies_is_a_decode_limit(deed: bytes, evil: Sandbox) -> None:
    """A crash, a memory bomb or a fault of ours ends one child; the decoder goes on."""
    assert evil.decode(b"late").pixels.shape == (40, 40)
    before = decoder_pid(evil)
    with pytest.raises(DecodeLimit):
        evil.decode(deed)
    assert evil.decode(b"late").pixels.shape == (40, 40)
    assert decoder_pid(evil) == before


@pytest.mark.parametrize("deed", [b"spin", b"sleep"])
def test_a_child_that_never_ends_is_ended(deed: bytes) -> None:
    """An endless loop, busy or idle, is cut off by the time limit and frees its seat."""
    with Sandbox(workers=1, timeout_s=1.0, command=EVIL_COMMAND) as sandbox:
        with pytest.raises(DecodeLimit):
            sandbox.decode(deed)
        assert sandbox.decode(b"late").pixels.shape == (40, 40)


def test_a_child_without_an_alarm_is_ended() -> None:
    """A film that switches its own alarm off is killed by the decoder process."""
    program = EVIL.replace("def sleep():", "def sleep():\n    import signal; signal.alarm(0)")
    with (
        Sandbox(timeout_s=1.0, command=(sys.executable, "-I", "-c", program)) as sandbox,
        pytest.raises(DecodeLimit),
    ):
        sandbox.decode(b"sleep")


@pytest.mark.parametrize("deed", [b"write", b"read", b"connect", b"unlimit"])
def test_a_child_opens_nothing(deed: bytes, evil: Sandbox) -> None:
    """No file, no socket, and no way to raise the limits again, unless one is root."""
    if deed == b"unlimit" and os.geteuid() == 0:
        pytest.skip("root may raise its limits")
    with pytest.raises(UnreadableImage, match=r": (OSError|ValueError|ImportError)\."):
        evil.decode(deed)


@pytest.mark.skipif(os.geteuid() == 0, reason="the limit on processes does not hold for root")
@pytest.mark.parametrize("deed", [b"fork", b"thread"])
def test_a_child_starts_nothing(deed: bytes, evil: Sandbox) -> None:
    """No process and no thread."""
    with pytest.raises((UnreadableImage, DecodeLimit)):
        evil.decode(deed)


def test_the_limits_are_set(evil: Sandbox, pool: ThreadPoolExecutor) -> None:
    """The kernel shows a child's limits: no file, no process, no core dump, bounded memory and time."""
    film = pool.submit(evil.decode, b"sleep")
    child = seated_child(evil)
    until(lambda: "Max open files            0 " in Path(f"/proc/{child}/limits").read_text())
    limits = {
        line[:26].strip(): line[26:].split()[:2] for line in Path(f"/proc/{child}/limits").read_text().splitlines()
    }
    for name in ("Max file size", "Max core file size", "Max processes", "Max open files"):
        assert limits[name] == ["0", "0"], name
    assert limits["Max cpu time"] == ["30", "30"]
    assert 640 * 2**20 < int(limits["Max address space"][1]) < 2**31
    os.kill(child, signal.SIGKILL)
    assert isinstance(film.exception(), DecodeLimit)


def test_a_killed_decoder_is_replaced(sandbox: Sandbox) -> None:
    """After kill -9 the next film starts a new decoder."""
    sandbox.decode(make_png())
    before = decoder_pid(sandbox)
    os.kill(before, signal.SIGKILL)
    assert sandbox.decode(make_png()).pixels.shape == (48, 64)
    assert decoder_pid(sandbox) != before
    assert not is_running(before)


def test_a_film_survives_the_death_of_its_decoder(evil: Sandbox, pool: ThreadPoolExecutor) -> None:
    """A film under way when the decoder is killed is read by the next one, not blamed."""
    film = pool.submit(evil.decode, b"late")
    child = seated_child(evil)
    os.kill(decoder_pid(evil), signal.SIGKILL)
    assert film.result().pixels.shape == (40, 40)
    until(lambda: not is_running(child))


def test_a_decoder_that_cannot_start_is_busy() -> None:
    """When the decoder dies again and again, the answer is 503: the film is not at fault."""
    with Sandbox(command=("/bin/false",)) as sandbox, pytest.raises(DecoderBusy, match="restarted"):
        sandbox.decode(make_png())


def test_a_stuck_decoder_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that does not answer in time is killed; the film is tried once more, then it is 503."""
    monkeypatch.setattr("shared.imaging.sandbox.START_S", 0.0)
    command = (sys.executable, "-I", "-c", "import time; time.sleep(1000)")
    with Sandbox(timeout_s=0.2, command=command) as sandbox:
        with pytest.raises(DecoderBusy, match="restarted"):
            sandbox.decode(make_png())
        assert not is_running(decoder_pid(sandbox))


def test_a_full_line_is_busy(evil: Sandbox, pool: ThreadPoolExecutor) -> None:
    """With all seats taken and no place to wait, the next film is 503 at once; then there is room again."""
    film = pool.submit(evil.decode, b"sleep")
    child = seated_child(evil)
    with pytest.raises(DecoderBusy, match="waiting"):
        evil.decode(b"late")
    os.kill(child, signal.SIGKILL)
    assert isinstance(film.exception(), DecodeLimit)
    assert evil.decode(b"late").pixels.shape == (40, 40)


def test_waiting_too_long_is_busy() -> None:
    """A film that gets no seat in its time is 503, and its place is free again."""
    line = _Line([], workers=1, waiting=1)
    with line.seat(1.0):
        for _ in range(3):
            with pytest.raises(DecoderBusy, match="too long"), line.seat(0.01):
                pytest.fail("there was no seat")
    with line.seat(0.01):
        pass


def test_no_more_films_at_once_than_seats(pool: ThreadPoolExecutor) -> None:
    """Eight films at two seats: all are read, never more than two at a time, by the children's own clocks."""
    with Sandbox(workers=2, command=EVIL_COMMAND) as sandbox:
        films = list(pool.map(sandbox.decode, [b"late"] * 8))
    times = [struct.unpack("dd", film.pixels[0, :16].tobytes()) for film in films]
    at_once = [sum(start <= moment < end for start, end in times) for moment, _ in times]
    assert max(at_once) == 2


def test_the_decoder_knows_nothing(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its environment holds no secret, and no descriptor of ours, not even an inheritable one."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", "postgresql://secret")
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        sandbox.decode(make_png())
    process = Path(f"/proc/{decoder_pid(sandbox)}")
    assert (process / "environ").read_bytes() == b"OPENBLAS_NUM_THREADS=1\0"
    assert b"secret" not in (process / "cmdline").read_bytes()
    held = {entry.name: str(entry.readlink()) for entry in (process / "fd").iterdir()}
    assert held.keys() == {"0", "1", "2"}
    assert held["0"].startswith("socket:")
    assert held["1"] == held["2"] == "/dev/null"
    assert len(list((process / "task").iterdir())) == 1


def test_a_child_holds_its_own_film_only(pool: ThreadPoolExecutor) -> None:
    """Of all sockets, a child has that of its film: not the control socket, not another film's."""
    with Sandbox(workers=2, command=EVIL_COMMAND) as sandbox:
        films = [pool.submit(sandbox.decode, b"sleep") for _ in range(2)]
        until(lambda: sandbox._lines and sandbox._lines[os.getpid()]._decoder)
        until(lambda: len(children_of(decoder_pid(sandbox))) == 2)
        held = []
        for child in children_of(decoder_pid(sandbox)):
            until(lambda child=child: "Max open files            0 " in Path(f"/proc/{child}/limits").read_text())
            links = [str(entry.readlink()) for entry in Path(f"/proc/{child}/fd").iterdir()]
            held.append([link for link in links if link != "/dev/null"])
            os.kill(child, signal.SIGKILL)
        assert [len(sockets) for sockets in held] == [1, 1]
        assert held[0] != held[1]
        assert all(isinstance(film.exception(), DecodeLimit) for film in films)


def test_nothing_is_left_after_close(pool: ThreadPoolExecutor) -> None:
    """Closing ends the decoder, its children and its socket; films under way are told to come again."""
    before = descriptors()
    sandbox = Sandbox(workers=1, command=EVIL_COMMAND)
    film = pool.submit(sandbox.decode, b"sleep")
    child = seated_child(sandbox)
    decoder = decoder_pid(sandbox)
    sandbox.close()
    assert isinstance(film.exception(), DecoderBusy)
    until(lambda: not is_running(decoder) and not is_running(child))
    assert descriptors() == before
    with pytest.raises(DecoderBusy, match="shutting down"):
        sandbox.decode(b"late")
    sandbox.close()


def test_a_sandbox_never_used_closes() -> None:
    """Closing what never started does nothing."""
    Sandbox().close()


def test_the_decoder_outlives_the_thread_that_started_it(sandbox: Sandbox) -> None:
    """A web server's thread may come and go; its decoder stays."""
    thread = threading.Thread(target=sandbox.decode, args=(make_png(),))
    thread.start()
    thread.join()
    before = decoder_pid(sandbox)
    sandbox.decode(make_png())
    assert decoder_pid(sandbox) == before


def test_nothing_is_left_when_the_parent_is_killed() -> None:
    """After kill -9 of the owner, the decoder and a child in an endless loop are gone as well."""
    program = (
        "import os, sys, threading, time\n"
        "from shared.imaging.sandbox import Sandbox\n"
        "sandbox = Sandbox(timeout_s=300.0, command=sys.argv[1:])\n"
        "threading.Thread(target=sandbox.decode, args=(b'spin',), daemon=True).start()\n"
        "while not (sandbox._lines and sandbox._lines[os.getpid()]._decoder): time.sleep(0.01)\n"
        "print(sandbox._lines[os.getpid()]._decoder.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, *EVIL_COMMAND]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        decoder = int(owner.stdout.readline())
        until(lambda: children_of(decoder))
        (child,) = children_of(decoder)
        owner.kill()
    until(lambda: not is_running(decoder) and not is_running(child))


def test_nothing_is_left_however_early_the_decoder_dies() -> None:
    """A child whose decoder is killed while it still puts on its limits ends as well."""
    for _ in range(8):
        decoder = Decoder.start([*EVIL_COMMAND, "300"])
        with decoder.connect():
            until(lambda pid=decoder.pid: children_of(pid))
            children = children_of(decoder.pid)
            decoder.end()
            until(lambda children=children: not any(is_running(child) for child in children))


def test_a_fork_starts_its_own_decoder() -> None:
    """After a fork the child process uses a decoder of its own, and leaves its parent's alone."""
    program = (
        "import os, sys\n"
        "from shared.imaging.sandbox import Sandbox\n"
        "sandbox = Sandbox(command=sys.argv[1:])\n"
        "sandbox.decode(b'late')\n"
        "def pid(): return sandbox._lines[os.getpid()]._decoder.pid\n"
        "first = pid()\n"
        "forked = os.fork()\n"
        "if not forked:\n"
        "    sandbox.decode(b'late')\n"
        "    code = 0 if pid() != first and len(sandbox._lines) == 1 else 3\n"
        "    sandbox.close()\n"
        "    os._exit(code)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0\n"
        "sandbox.decode(b'late')\n"
        "assert pid() == first\n"
        "sandbox.close()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program, *EVIL_COMMAND], check=True)


def test_greenlets_go_on_while_a_film_is_read() -> None:
    """Under gevent's monkey patching a slow film blocks no other greenlet, and the line still holds."""
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import gevent, sys\n"
        "from shared.errors import DecoderBusy\n"
        "from shared.imaging.sandbox import Sandbox\n"
        "ticks = 0\n"
        "def tick():\n"
        "    global ticks\n"
        "    while True:\n"
        "        gevent.sleep(0.01)\n"
        "        ticks += 1\n"
        "gevent.spawn(tick)\n"
        "def film():\n"
        "    try: return sandbox.decode(b'late').pixels.shape\n"
        "    except DecoderBusy: return 'busy'\n"
        "with Sandbox(workers=2, waiting=2, command=sys.argv[1:]) as sandbox:\n"
        "    films = [gevent.spawn(film) for _ in range(6)]\n"
        "    gevent.joinall(films)\n"
        "print(ticks, sorted(str(film.value) for film in films))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, *EVIL_COMMAND], check=True, capture_output=True, text=True)
    ticks, _, outcome = ran.stdout.partition(" ")
    assert outcome.strip() == str(["(40, 40)"] * 4 + ["busy"] * 2)
    assert int(ticks) >= 10


def test_large_films_pass_between_greenlets() -> None:
    """Under gevent, uploads and pixels larger than a socket's buffer come through whole."""
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import gevent, io\n"
        "import numpy as np\n"
        "from PIL import Image\n"
        "from shared.imaging.sandbox import Sandbox\n"
        "noise = np.random.default_rng(3).integers(0, 65535, (900, 1100), np.uint16)\n"
        "file = io.BytesIO()\n"
        "Image.fromarray(noise).save(file, 'PNG', compress_level=1)\n"
        "with Sandbox(workers=2) as sandbox:\n"
        "    films = [gevent.spawn(sandbox.decode, file.getvalue()) for _ in range(4)]\n"
        "    assert all((film.get().pixels == noise).all() for film in films)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_many_threads_share_one_decoder(shared_sandbox: Sandbox, pool: ThreadPoolExecutor) -> None:
    """Films of many threads do not mix."""
    films = {seed: make_png(pixels=make_pixels(seed=seed)) for seed in range(24)}
    decoded = dict(zip(films, pool.map(shared_sandbox.decode, films.values()), strict=True))
    for seed, film in decoded.items():
        np.testing.assert_array_equal(film.pixels, make_pixels(seed=seed))


GOOD = {"kind": "png", "mode": "L", "bit_depth": 8, "height_px": 40, "width_px": 40}


def answer_of(header: bytes, pixels: bytes = b"") -> socket.socket:
    """A film's socket on which the child has already said all it will say."""
    film, child = socket.socketpair()
    with child:
        child.sendall(HEADER_SIZE.pack(len(header)) + header + pixels)
    return film


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"not json",
        b"[1, 2]",
        b"7",
        b"{}",
        b"[" * 4000,
        b"{" + b" " * 5000 + b"}",
        *(
            json.dumps(GOOD | lie).encode()
            for lie in (
                {"kind": "exe"},
                {"kind": []},
                {"mode": "<script>"},
                {"bit_depth": 32},
                {"bit_depth": 8.0},
                {"height_px": 0},
                {"height_px": 10**9},
                {"height_px": -40},
                {"height_px": 40.5},
                {"height_px": "40"},
                {"width_px": None},
                {"width_px": True},
                {"surprise": 1},
            )
        ),
        *(
            json.dumps(refusal).encode()
            for refusal in (
                {"code": "internal", "detail": "x"},
                {"code": "too_many_pixels", "detail": "two\nlines"},
                {"code": "too_many_pixels", "detail": "x" * 401},
                {"code": "too_many_pixels", "detail": 7},
                {"code": "too_many_pixels"},
                {"code": [], "detail": "x"},
            )
        ),
    ],
)
def test_a_child_that_lies_is_not_believed(header: bytes) -> None:
    """An answer that makes no sense is an unreadable film, whatever it says."""
    with answer_of(header, bytes(1600)) as film, pytest.raises(UnreadableImage, match="could not be read"):
        exchange(film, b"film", time.monotonic() + 60)


def test_a_true_answer_is_believed() -> None:
    """The same exchange with a true answer gives the film; with a true refusal, the refusal."""
    with answer_of(json.dumps(GOOD).encode(), bytes(1600)) as film:
        assert exchange(film, b"film", time.monotonic() + 60).pixels.shape == (40, 40)
    refusal = {"code": "too_many_pixels", "detail": "Too large."}
    with answer_of(json.dumps(refusal).encode()) as film, pytest.raises(TooManyPixels, match="Too large"):
        exchange(film, b"film", time.monotonic() + 60)


def test_too_few_pixels_are_not_believed() -> None:
    """An answer that ends before its last pixel is no answer."""
    with answer_of(json.dumps(GOOD).encode(), bytes(1599)) as film, pytest.raises(EOFError):
        exchange(film, b"film", time.monotonic() + 60)


def seated_child(sandbox: Sandbox) -> int:
    """Wait for the one child that reads a film."""
    until(lambda: os.getpid() in sandbox._lines and sandbox._lines[os.getpid()]._decoder)
    until(lambda: len(children_of(decoder_pid(sandbox))) == 1)
    return children_of(decoder_pid(sandbox))[0]
