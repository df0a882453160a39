"""What the sandbox promises: nothing a film does reaches this process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shared.errors import (
    DecodeLimit,
    Malformed,
    RefusedUpload,
    TooLarge,
    UnreadableImage,
)
from shared.imaging import seccomp
from shared.imaging.decode import MAX_INPUT_BYTES, decode
from shared.imaging.decoder_process import CHILD_FILMS
from shared.imaging.sandbox import Sandbox
from tests.decoders import EVIL, EVIL_COMMAND, decoder_pid, seated_child
from tests.factories import make_jpeg, make_pixels, make_png
from tests.hostile_films import HOSTILE, ODD, Hostile
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


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
    data = make()
    assert shared_sandbox.decode(data).facts == decode(data).facts


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


def test_a_child_that_is_slow_to_end_has_ended_by_itself() -> None:
    """Its client learns of its end by the end itself, not before: else it is killed on its way, and nobody blamed."""
    program = EVIL.replace(
        "decoder_process.main",
        "end = os._exit\nos._exit = lambda status: (time.sleep(0.3), end(status))\ndecoder_process.main",
    )
    command = (sys.executable, "-I", "-c", program)
    with Sandbox(workers=1, command=command) as sandbox, pytest.raises(DecodeLimit):
        sandbox.decode(b"bug")


@pytest.mark.parametrize("deed", [b"spin", b"sleep"])
def test_a_child_that_never_ends_is_ended(deed: bytes) -> None:
    """An endless loop, busy or idle, is cut off by the time limit and frees its seat."""
    with Sandbox(workers=1, timeout_s=1.0, command=EVIL_COMMAND) as sandbox:
        with pytest.raises(DecodeLimit):
            sandbox.decode(deed)
        with sandbox._lines[os.getpid()].seat(0.0):
            pass


def test_a_child_without_an_alarm_is_ended() -> None:
    """A film that switches its own alarm off is killed by the decoder process."""
    program = EVIL.replace("def sleep():", "def sleep():\n    import signal; signal.setitimer(signal.ITIMER_REAL, 0)")
    with (
        Sandbox(timeout_s=1.0, command=(sys.executable, "-I", "-c", program)) as sandbox,
        pytest.raises(DecodeLimit),
    ):
        sandbox.decode(b"sleep")


@pytest.mark.parametrize("deed", [b"write", b"read", b"connect", b"unlimit"])
def test_a_child_opens_nothing(deed: bytes, evil: Sandbox) -> None:
    """No file, no socket, and no way to raise the limits again, root or not."""
    with pytest.raises(UnreadableImage, match=r": (PermissionError|OSError|ValueError|ImportError)\."):
        evil.decode(deed)


@pytest.mark.parametrize("deed", [b"spy", b"trace", b"end", b"remove", b"execute"])
def test_a_child_reaches_no_other_process_and_no_name(deed: bytes, evil: Sandbox) -> None:
    """It has the web process's user, whose memory it may neither read nor trace, and whose files it may not remove."""
    with pytest.raises(UnreadableImage, match=r": PermissionError\."):
        evil.decode(deed)


def test_a_machine_that_is_not_known_is_not_confined() -> None:
    """The doctor says so."""
    assert not seccomp.confine("vax")
    assert not seccomp.is_available("vax")
    assert not seccomp.is_available("x86_64", Path("/not/there"))
    assert seccomp.is_available()


@pytest.mark.parametrize("machine", seccomp.ABIS)
def test_every_jump_of_a_filter_ends_inside_it(machine: str) -> None:
    """An allowed call leads to the step that allows, a signal to the question whom it is for, all else to a refusal."""
    abi = seccomp.ABIS[machine]
    steps = seccomp.instructions(abi, 7)
    targets = {call: steps[place + 1 + equal] for place, (code, equal, _, call) in enumerate(steps)
               if code == seccomp.JUMP_IF_EQUAL}  # fmt: skip
    assert {targets[call] for call in (*abi.calls, 7)} == {(seccomp.RETURN, 0, 0, seccomp.ALLOW)}
    assert {targets[call] for call in abi.signals} == {(seccomp.LOAD_WORD, 0, 0, seccomp.FIRST_ARGUMENT)}
    other = steps[2 + steps[1][2]]
    assert other == steps[-1] == (seccomp.RETURN, 0, 0, seccomp.REFUSE)
    assert len(set(abi.calls + abi.signals)) == len(abi.calls + abi.signals)


@pytest.mark.parametrize("deed", [b"fork", b"thread"])
def test_a_child_starts_nothing(deed: bytes, evil: Sandbox) -> None:
    """No process and no thread."""
    with pytest.raises((UnreadableImage, DecodeLimit)):
        evil.decode(deed)


def test_the_limits_are_set(evil: Sandbox, pool: ThreadPoolExecutor) -> None:
    """The kernel shows a child's limits: no file, no process, no core dump, bounded memory and time."""
    film = pool.submit(evil.decode, b"sleep")
    child = seated_child(evil)
    wait_until(
        lambda: "Max open files            0 " in Path(f"/proc/{child}/limits").read_text(), "the child to be confined"
    )
    limits = {
        line[:26].strip(): line[26:].split()[:2] for line in Path(f"/proc/{child}/limits").read_text().splitlines()
    }
    for name in ("Max file size", "Max core file size", "Max processes", "Max open files"):
        assert limits[name] == ["0", "0"], name
    assert limits["Max cpu time"] == [str(30 * CHILD_FILMS)] * 2
    assert 640 * 2**20 < int(limits["Max address space"][1]) < 2**31
    os.kill(child, signal.SIGALRM)
    assert isinstance(film.exception(), DecodeLimit)
