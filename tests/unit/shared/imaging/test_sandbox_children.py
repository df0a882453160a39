"""Who decodes the next film: a child at hand of the same tenant, else a new one; and what that means for its limits."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from shared.errors import DecodeLimit, UnreadableImage
from shared.imaging.decoder_process import HEADER_SIZE, SHARED_BYTES
from shared.imaging.sandbox import Sandbox
from tests.decoders import EVIL, EVIL_COMMAND, children_of, decoder_pid, is_running
from tests.factories import make_pixels, make_png
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

TIMEOUT_S, SHORT_S = 60.0, 3.0

ANSWER = b'{"kind": "png", "mode": "L", "bit_depth": 8, "height_px": 40, "width_px": 40, "is_confined": true}'
WITHOUT_ALARM = EVIL.replace("def sleep():", "def sleep():\n    signal.alarm(0)").replace(
    "decoder_process.main", "decoder_process.CHECK_S = 0.1\ndecoder_process.main"
)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """One seat and a minute a film; films are the names of deeds."""
    with Sandbox(workers=1, timeout_s=TIMEOUT_S, command=EVIL_COMMAND) as made:
        yield made


def child_of(sandbox: Sandbox, tenant: str | None, deed: bytes = b"still") -> int:
    """The process id of the child that decoded a film of this tenant."""
    pixels = sandbox.decode(deed, tenant).pixels
    return int(struct.unpack("i", pixels[0, 16:20].tobytes())[0])


def test_a_tenants_films_share_a_child(sandbox: Sandbox) -> None:
    """One after the other."""
    assert len({child_of(sandbox, "ward") for _ in range(3)}) == 1


def test_each_film_has_the_whole_time_for_itself(sandbox: Sandbox) -> None:
    """The alarm is set anew when a used child is given its next, whatever it took and however long it waited."""
    child = child_of(sandbox, "ward", b"late")
    asked_at = time.monotonic()
    _, end, pid, left_s = struct.unpack("ddid", sandbox.decode(b"ring", "ward").pixels[0, :32].tobytes())
    assert pid == child
    assert end + left_s - TIMEOUT_S > asked_at, "when it was set, or later"


def test_no_two_tenants_share_a_child(sandbox: Sandbox) -> None:
    """Nor do films that name none."""
    children = [child_of(sandbox, tenant) for tenant in ("ward", "other", "ward", None, None)]
    assert len(set(children)) == 5


def test_two_tenants_have_a_child_each() -> None:
    """As many idle children as seats are kept, those used last; the others end."""
    with Sandbox(workers=2, timeout_s=TIMEOUT_S, command=EVIL_COMMAND) as sandbox:
        ward, other = child_of(sandbox, "ward"), child_of(sandbox, "other")
        assert (child_of(sandbox, "ward"), child_of(sandbox, "other")) == (ward, other)
        third = child_of(sandbox, "third")
        wait_until(
            lambda: set(children_of(decoder_pid(sandbox))) == {other, third}, "the third film to take the free seat"
        )


def test_no_film_follows_one_that_was_refused(sandbox: Sandbox) -> None:
    """The child that refused a film ends, by itself too, and the next film has a new one."""
    before = child_of(sandbox, "ward")
    with pytest.raises(UnreadableImage):
        sandbox.decode(b"write", "ward")
    wait_until(lambda: not is_running(before), "it to end")
    assert child_of(sandbox, "ward") != before


@pytest.mark.parametrize("deed", [b"spent", b"tight", b"slander"])
def test_a_film_is_not_blamed_for_those_before_it(sandbox: Sandbox, deed: bytes) -> None:
    """What ends a child that had other films, or what such a child refuses, is tried in a new one; that one counts."""
    before = child_of(sandbox, "ward")
    after = child_of(sandbox, "ward", deed)
    assert after != before
    with pytest.raises(DecodeLimit):
        sandbox.decode(b"crash", "ward")


def test_a_film_whose_time_is_over_in_a_used_child_has_no_more(sandbox: Sandbox, pool: ThreadPoolExecutor) -> None:
    """It is not tried in a new one then: it would hold its seat for twice that long."""
    child = psutil.Process(child_of(sandbox, "ward"))
    before_s = child.cpu_times().user
    film = pool.submit(sandbox.decode, b"stuck", "ward")
    wait_until(lambda: child.cpu_times().user > before_s + 0.1, "the film to be under way")
    child.send_signal(signal.SIGALRM)
    assert isinstance(film.exception(), DecodeLimit)


def test_a_child_that_spoke_unasked_is_given_no_film(sandbox: Sandbox) -> None:
    """What it said would be taken for its next answer."""
    before = child_of(sandbox, "ward")
    (used,) = sandbox._lines[os.getpid()]._idle
    used.socket.close()
    used.socket, its_end = socket.socketpair()
    with its_end:
        its_end.sendall(HEADER_SIZE.pack(len(ANSWER)) + ANSWER)
        assert child_of(sandbox, "ward") != before


def test_what_a_large_film_took_of_the_shared_memory_is_given_back() -> None:
    """An idle child holds little; a small film's pages stay, for the next one."""
    held = []
    with Sandbox(workers=1) as sandbox:
        for pixels in (np.zeros((3000, 2000), np.uint8), make_pixels()):
            sandbox.decode(make_png(pixels=pixels), "ward")
            (child,) = sandbox._lines[os.getpid()]._idle
            held.append(os.fstat(child.memory.fileno()))
    assert [file.st_size for file in held] == [SHARED_BYTES] * 2
    assert held[0].st_blocks == 0 < held[1].st_blocks


def test_a_child_that_was_killed_while_idle_is_replaced(sandbox: Sandbox) -> None:
    """Its next film does not notice."""
    before = child_of(sandbox, "ward")
    os.kill(before, signal.SIGKILL)
    assert child_of(sandbox, "ward") != before


def test_a_child_whose_decoder_died_is_replaced(sandbox: Sandbox) -> None:
    """With the decoder."""
    before, decoder = child_of(sandbox, "ward"), decoder_pid(sandbox)
    os.kill(decoder, signal.SIGKILL)
    wait_until(lambda: not is_running(before), "it to end")
    assert child_of(sandbox, "ward") != before
    assert decoder_pid(sandbox) != decoder


def test_a_used_child_without_an_alarm_is_ended() -> None:
    """The decoder kills it as it kills a new one: its time begins with the film, not with the child."""
    command = (sys.executable, "-I", "-c", WITHOUT_ALARM)
    born: dict[int, float] = {}

    def find_old() -> int | None:
        """One that goes on past the time of its first film; it may end where the machine stands still."""
        with contextlib.suppress(DecodeLimit):
            start, end, pid = struct.unpack("ddi", sandbox.decode(b"late", "ward").pixels[0, :20].tobytes())
            return pid if end - born.setdefault(pid, start) > SHORT_S + 0.5 else None
        return None

    with Sandbox(workers=1, timeout_s=SHORT_S, command=command) as sandbox:
        used = wait_until(find_old, "a child to be old")
        with pytest.raises(DecodeLimit):
            sandbox.decode(b"sleep", "ward")
        assert not is_running(used)


def test_an_idle_child_ends_by_itself() -> None:
    """Its alarm rings while it waits for a film, too."""
    with Sandbox(workers=1, timeout_s=3.0, command=EVIL_COMMAND) as sandbox:
        before = child_of(sandbox, "ward")
        wait_until(lambda: not is_running(before), "it to end")


def test_a_child_idle_for_long_is_given_no_film(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be about to end."""
    before = child_of(sandbox, "ward")
    monkeypatch.setattr("shared.imaging.sandbox.CHILD_IDLE_S", 0.0)
    assert child_of(sandbox, "ward") != before


def test_a_child_is_given_so_many_films_and_no_more(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a film may have left behind in it does not stay for ever."""
    monkeypatch.setattr("shared.imaging.sandbox.CHILD_FILMS", 2)
    children = [child_of(sandbox, "ward") for _ in range(4)]
    assert (children[0], children[2]) == (children[1], children[3])
    assert children[0] != children[2]
