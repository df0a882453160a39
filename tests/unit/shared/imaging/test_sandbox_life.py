"""What the sandbox promises when processes die, wait, fork or share: no film is lost to it, nothing is left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from shared.errors import (
    DecodeLimit,
    DecoderBusy,
)
from shared.imaging import decoder_client
from shared.imaging.decoder_client import DecoderProcess
from shared.imaging.sandbox import Sandbox, _Line
from tests.decoders import (
    EVIL_COMMAND,
    children_of,
    decoder_pid,
    descriptors,
    is_running,
    released,
    seated_child,
    settled_descriptors,
)
from tests.factories import make_pixels, make_png
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


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
    film = pool.submit(evil.decode, b"held")
    child = seated_child(evil)
    os.kill(decoder_pid(evil), signal.SIGKILL)
    assert released(evil, film).pixels.shape == (40, 40)
    wait_until(lambda: not is_running(child), "it to end")


def test_a_film_survives_the_death_of_its_child(evil: Sandbox, pool: ThreadPoolExecutor) -> None:
    """SIGKILL comes from outside, as when memory is short: the film is read by another child of the same decoder."""
    film = pool.submit(evil.decode, b"held")
    child, decoder = seated_child(evil), decoder_pid(evil)
    os.kill(child, signal.SIGKILL)
    assert released(evil, film).pixels.shape == (40, 40)
    assert decoder_pid(evil) == decoder


def test_a_film_whose_children_are_all_killed_may_come_again(evil: Sandbox) -> None:
    """Twice, and it is 503; nobody can say that it is the film's fault."""
    with pytest.raises(DecoderBusy):
        evil.decode(b"killed")


def test_a_decoder_may_be_started_before_its_first_film(sandbox: Sandbox) -> None:
    """Once, however often it is asked for; the film finds it running."""
    sandbox.start()
    before = decoder_pid(sandbox)
    sandbox.start()
    assert sandbox.decode(make_png()).pixels.shape == (48, 64)
    assert decoder_pid(sandbox) == before


def test_a_start_that_fails_is_left_to_the_first_film() -> None:
    """Whoever starts the web process has no film to refuse."""
    with Sandbox(command=("/no/such/decoder",)) as sandbox:
        sandbox.start()
        with pytest.raises(DecoderBusy):
            sandbox.decode(make_png())


def test_a_decoder_that_cannot_start_is_busy() -> None:
    """When the decoder dies again and again, the answer is 503: the film is not at fault."""
    with Sandbox(command=("/bin/false",)) as sandbox, pytest.raises(DecoderBusy, match="restarted"):
        sandbox.decode(make_png())


UNCONFINED = """
from shared.imaging import decoder_process, seccomp
seccomp.confine = lambda: False
decoder_process.main()
"""


def test_a_kernel_that_bounds_no_child_is_logged() -> None:
    """Once a process, not a film: films are read under the other limits."""
    decoder_client._warn_unconfined.cache_clear()
    with capture_logs() as logs, Sandbox(workers=1, command=(sys.executable, "-I", "-c", UNCONFINED)) as sandbox:
        for _ in range(2):
            sandbox.decode(make_png())
    assert [entry["event"] for entry in logs] == ["decoder.unconfined"]
    with capture_logs() as logs, Sandbox(workers=1) as sandbox:
        decoder_client._warn_unconfined.cache_clear()
        sandbox.decode(make_png())
    assert logs == []


def test_the_end_of_a_decoder_is_logged() -> None:
    """With its exit status, at the first film that finds it dead; nothing is logged when it is told to end."""
    with capture_logs() as logs, Sandbox(workers=1, command=("/bin/false",)) as sandbox:
        for _ in range(2):
            with pytest.raises(DecoderBusy):
                sandbox.decode(make_png())
    assert {(entry["event"], entry["status"]) for entry in logs} == {("decoder.ended", 1)}
    with capture_logs() as logs, Sandbox(workers=1) as sandbox:
        sandbox.decode(make_png())
    assert logs == []


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_a_process_out_of_descriptors_is_busy(allowed: int, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 for now, no fault of ours that is told as 500; and no descriptor is lost by it."""
    before = settled_descriptors()
    made = iter(range(allowed))
    socketpair = socket.socketpair

    def scarce() -> tuple[socket.socket, socket.socket]:
        if next(made, None) is None:
            raise OSError(errno.EMFILE, "Too many open files")
        return socketpair()

    with monkeypatch.context() as scarcity:
        scarcity.setattr(socket, "socketpair", scarce)
        with contextlib.suppress(DecoderBusy):
            sandbox.decode(make_png())
            assert allowed == 2
    sandbox.close()
    wait_until(lambda: descriptors() <= before, "all of ours to be closed")


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
    os.kill(child, signal.SIGALRM)
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
    assert max(at_once) <= 2


def test_the_decoder_knows_nothing(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its environment holds no secret, and no descriptor of ours, not even an inheritable one."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", "postgresql://secret")
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        sandbox.decode(make_png())
    process = Path(f"/proc/{decoder_pid(sandbox)}")
    assert (process / "environ").read_bytes() == b"OPENBLAS_NUM_THREADS=1\0"
    assert b"secret" not in (process / "cmdline").read_bytes()
    wait_until(lambda: {entry.name for entry in (process / "fd").iterdir()} == {"0", "1", "2"}, "the child's to close")
    held = {entry.name: str(entry.readlink()) for entry in (process / "fd").iterdir()}
    assert held["0"].startswith("socket:")
    assert held["1"] == held["2"] == "/dev/null"
    assert len(list((process / "task").iterdir())) == 1


def test_a_child_holds_its_own_film_only(pool: ThreadPoolExecutor) -> None:
    """A child has its socket: not the control socket, not another film's, and no way to change its memory's size."""
    with Sandbox(workers=2, command=EVIL_COMMAND) as sandbox:
        films = [pool.submit(sandbox.decode, b"sleep") for _ in range(2)]
        wait_until(lambda: sandbox._lines and sandbox._lines[os.getpid()]._decoder, "the decoder to start")
        wait_until(lambda: len(children_of(decoder_pid(sandbox))) == 2, "the child to start")
        held = []
        for child in children_of(decoder_pid(sandbox)):
            wait_until(
                lambda child=child: "Max open files            0 " in Path(f"/proc/{child}/limits").read_text(),
                "the child to be confined",
            )
            links = [str(entry.readlink()) for entry in Path(f"/proc/{child}/fd").iterdir()]
            held.append([link for link in links if link != "/dev/null"])
            os.kill(child, signal.SIGALRM)
        assert [len(sockets) for sockets in held] == [1, 1]
        assert all(link.startswith("socket:") for sockets in held for link in sockets)
        assert held[0] != held[1]
        assert all(isinstance(film.exception(), DecodeLimit) for film in films)


def test_nothing_is_left_after_close(pool: ThreadPoolExecutor) -> None:
    """Closing ends the decoder, its children and its socket; films under way are told to come again."""
    before = settled_descriptors()
    sandbox = Sandbox(workers=1, command=EVIL_COMMAND)
    film = pool.submit(sandbox.decode, b"sleep")
    child = seated_child(sandbox)
    decoder = decoder_pid(sandbox)
    sandbox.close()
    assert isinstance(film.exception(), DecoderBusy)
    wait_until(lambda: not is_running(decoder) and not is_running(child), "them to end")
    wait_until(lambda: descriptors() <= before, "all of ours to be closed")
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
        wait_until(lambda: children_of(decoder), "the child to start")
        (child,) = children_of(decoder)
        owner.kill()
    wait_until(lambda: not is_running(decoder) and not is_running(child), "them to end")


def test_nothing_is_left_however_early_the_decoder_dies() -> None:
    """A child whose decoder is killed while it still puts on its limits ends as well."""
    for _ in range(8):
        decoder = DecoderProcess.start([*EVIL_COMMAND, "300"])
        with contextlib.closing(decoder.connect()):
            wait_until(lambda pid=decoder.pid: children_of(pid), "the child to start")
            children = children_of(decoder.pid)
            decoder.end()
            wait_until(lambda children=children: not any(is_running(child) for child in children), "them to end")


def test_a_fork_starts_its_own_decoder() -> None:
    """After a fork the child process uses a decoder of its own, and leaves its parent's alone."""
    program = (
        "import os, sys\n"
        "from shared.imaging.sandbox import Sandbox\n"
        "sandbox = Sandbox(command=sys.argv[1:])\n"
        "sandbox.decode(b'late', 'ward')\n"
        "def pid(): return sandbox._lines[os.getpid()]._decoder.pid\n"
        "first = pid()\n"
        "forked = os.fork()\n"
        "if not forked:\n"
        "    sandbox.decode(b'late', 'ward')\n"
        "    code = 0 if pid() != first and len(sandbox._lines) == 1 else 3\n"
        "    sandbox.close()\n"
        "    os._exit(code)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0\n"
        "sandbox.decode(b'late', 'ward')\n"
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
    assert int(ticks) >= 3, "it blocks until all are read, or lets them tick for a second"


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
