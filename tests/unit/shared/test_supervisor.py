"""The supervisor restarts what dies, waits longer each time, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import supervisor
from shared.supervisor import FIRST_PAUSE_S, LONGEST_PAUSE_S, Part, Supervisor
from tests.waiting import LIMIT_S, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

NOW_S = 5000.0

SLEEPER = "import time; time.sleep(600)"
FAMILY = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {sleeper!r}]); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


def marked(mark: str) -> list[int]:
    """Living processes whose command line holds `mark`."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if folder.name.isdigit() and mark.encode() in command and state != "Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def program(name: str, code: str, mark: str) -> Part:
    """A part that runs `code`; `mark` on its command line tells it from all others."""
    return Part(name, [sys.executable, "-c", code, mark])


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """A word for this test's processes; what is left of them is ended."""
    word = f"mark-{tmp_path.name}-{os.getpid()}"
    yield word
    for pid in marked(word):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def said() -> list[str]:
    """What the person at the terminal reads."""
    return []


@pytest.fixture
def parts(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    """A supervisor, stopped at the end."""
    made = Supervisor(tmp_path / "logs", said.append)
    yield made
    made.stop()


@pytest.fixture
def timeless(tmp_path: Path, said: list[str]) -> Supervisor:
    """A supervisor for which it is always `NOW_S`."""
    return Supervisor(tmp_path / "logs", said.append, clock=lambda: NOW_S)


def test_a_part_writes_to_its_own_log(tmp_path: Path, parts: Supervisor, mark: str) -> None:
    """Output and errors, appended over restarts; its environment is ours and its own."""
    part = program("talker", "import os, sys; print(os.environ['WORD'], flush=True); sys.stderr.write('err\\n')", mark)
    part.environment = {"WORD": "hello"}
    parts.add(part)
    assert part.process is not None
    part.process.wait(LIMIT_S)
    part.start(tmp_path / "logs")
    part.process.wait(LIMIT_S)
    assert (tmp_path / "logs" / "talker.log").read_text().split() == ["hello", "err", "hello", "err"]


def test_a_part_that_dies_is_started_again(parts: Supervisor, mark: str, said: list[str]) -> None:
    """A new process, and a line that says which part, how it ended and where its log is."""
    part = program("worker", SLEEPER, mark)
    part.pause_s = 0.0
    parts.add(part)
    assert part.process is not None
    first = part.process
    first.kill()
    first.wait(LIMIT_S)
    parts._tend(part)
    assert part.process is None
    parts._tend(part)
    assert part.process is not None
    assert part.process.pid != first.pid
    (line,) = said
    assert "worker ended with status -9" in line
    assert "worker.log" in line


def test_a_part_that_cannot_be_started_again_ends_no_other(timeless: Supervisor, said: list[str]) -> None:
    """Where the machine is out of memory for a moment, say; it is tried again later."""
    part = Part("worker", ["/nowhere/program"])
    timeless._tend(part)
    assert part.process is None
    assert part.start_again_at == NOW_S + FIRST_PAUSE_S
    (line,) = said
    assert line.startswith("worker cannot be started: No such file or directory; starting it again in 0.5 s")


def test_the_pause_doubles_up_to_its_limit(timeless: Supervisor, mark: str) -> None:
    """0.5, 1, 2, … 30, 30: a part that cannot start does not eat the machine."""
    part = program("crasher", "raise SystemExit(3)", mark)
    pauses = []
    for _ in range(8):
        part.process, part.started_at = _Dead(), NOW_S
        timeless._tend(part)
        pauses.append(part.start_again_at - NOW_S)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_part_may_have_a_limit_of_its_own(timeless: Supervisor, mark: str) -> None:
    """A worker: films that kill it, three times each, should not make the others wait for half a minute."""
    part = program("worker", "raise SystemExit(3)", mark)
    part.longest_pause_s = 1.0
    for _ in range(8):
        part.process, part.started_at = _Dead(), NOW_S
        timeless._tend(part)
    assert part.start_again_at == NOW_S + 1.0


def test_no_part_is_started_before_its_pause_is_over(timeless: Supervisor, mark: str) -> None:
    """The watch goes on around it."""
    part = program("crasher", SLEEPER, mark)
    part.start_again_at = NOW_S + 0.1
    timeless._tend(part)
    assert part.process is None


def test_a_part_that_lived_long_starts_its_pauses_anew(timeless: Supervisor, mark: str) -> None:
    """One crash a day is not a crash loop."""
    part = program("worker", SLEEPER, mark)
    part.pause_s, part.process = LONGEST_PAUSE_S, _Dead()
    part.started_at = NOW_S - supervisor.STEADY_S - 1
    timeless._tend(part)
    assert part.start_again_at == NOW_S + FIRST_PAUSE_S


def test_the_time_of_its_start_is_noted(timeless: Supervisor, mark: str) -> None:
    """By which its crashes are told from those of a part that lived."""
    part = program("worker", SLEEPER, mark)
    timeless.add(part)
    timeless.stop()
    assert part.started_at == NOW_S


def test_stopping_ends_the_whole_group(parts: Supervisor, mark: str) -> None:
    """A part's own children go with it."""
    parts.add(program("family", FAMILY.format(sleeper=f"{SLEEPER}  # {mark}"), mark))
    wait_until(lambda: len(marked(mark)) == 2, "parent and child to live")
    parts.stop()
    wait_until(lambda: not marked(mark), "both to end")


def test_the_orphans_of_a_dead_part_are_ended(parts: Supervisor, mark: str) -> None:
    """A part that dies leaves no child to work beside its successor."""
    part = program("family", FAMILY.format(sleeper=f"{SLEEPER}  # {mark}"), mark)
    parts.add(part)
    wait_until(lambda: len(marked(mark)) == 2, "parent and child to live")
    assert part.process is not None
    os.kill(part.process.pid, signal.SIGKILL)
    part.process.wait(LIMIT_S)
    parts._tend(part)
    wait_until(lambda: not marked(mark), "the child to end")


def test_a_part_that_does_not_listen_is_killed(
    tmp_path: Path, parts: Supervisor, mark: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked first, killed after the grace."""
    monkeypatch.setattr(supervisor, "STOP_GRACE_S", 0.1)
    parts.add(program("deaf", DEAF, mark))
    wait_until(lambda: "deaf" in (tmp_path / "logs" / "deaf.log").read_text(), "it to be deaf")
    parts.stop()
    assert not marked(mark)
    assert "deaf did not end" in said[0]


def test_all_are_stopped_at_once_and_then_who_ends_last(tmp_path: Path, said: list[str], mark: str) -> None:
    """Web process and worker wait for each other here, which a stop one by one would not end; then the broker ends."""
    ended = tmp_path / "ended"
    code = (
        "import signal, sys, time, pathlib\n"
        f"ended, name = pathlib.Path({str(ended)!r}), sys.argv[2]\n"
        "def end(*_):\n"
        "    with ended.open('a') as file: file.write(name + ' ')\n"
        "    while name != 'broker' and len(ended.read_text().split()) < 2: time.sleep(0.01)\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    parts = Supervisor(tmp_path / "logs", said.append)
    for name in ("broker", "web", "worker"):
        parts.add(Part(name, [sys.executable, "-c", code, mark, name], ends_last=name == "broker"))
        wait_until(lambda name=name: "up" in (tmp_path / "logs" / f"{name}.log").read_text(), f"{name} to be up")
    parts.stop()
    *first, last = ended.read_text().split()
    assert (sorted(first), last, said) == (["web", "worker"], "broker", [])


def test_a_log_that_cannot_be_turned_over_stops_nothing(tmp_path: Path, parts: Supervisor, mark: str) -> None:
    """The parts run on, and so does who watches them."""
    parts.add(program("worker", SLEEPER, mark))
    os.truncate(tmp_path / "logs" / "worker.log", supervisor.LOG_BYTES + 1)
    (tmp_path / "logs" / "worker.log.2").write_text("no file takes the place of a folder")
    (tmp_path / "logs" / "worker.log.3").mkdir()
    with pytest.raises(OSError, match=r"worker\.log"):
        supervisor.rotate_log(tmp_path / "logs" / "worker.log")
    watching = threading.Thread(target=parts.watch, daemon=True)
    watching.start()
    time.sleep(3 * supervisor.TICK_S)
    assert watching.is_alive()
    parts.request_stop()
    watching.join(LIMIT_S)


def test_a_signal_ends_the_watch(parts: Supervisor, mark: str) -> None:
    """`request_stop` is a signal handler: the loop ends by itself, the stop follows."""
    parts.add(program("worker", SLEEPER, mark))
    watching = threading.Thread(target=parts.watch, daemon=True)
    watching.start()
    parts.request_stop(signal.SIGTERM, None)
    watching.join(LIMIT_S)
    assert not watching.is_alive()


def test_stopping_twice_is_harmless(parts: Supervisor, mark: str) -> None:
    """Nothing is there to end the second time."""
    parts.add(program("worker", SLEEPER, mark))
    parts.stop()
    parts.stop()
    assert not marked(mark)


def test_a_killed_supervisor_leaves_no_child(tmp_path: Path, mark: str) -> None:
    """SIGKILL cannot be handled: the kernel ends the parts."""
    code = (
        "import sys, pathlib\n"
        "from shared.supervisor import Part, Supervisor\n"
        "parts = Supervisor(pathlib.Path(sys.argv[1]), print)\n"
        f"parts.add(Part('part', [sys.executable, '-c', {SLEEPER!r}, sys.argv[2]]))\n"
        "print('up', flush=True)\n"
        "parts.watch()\n"
    )
    # the mark goes by way of the part's command only: the supervisor itself must not count
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), mark], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    wait_until(lambda: [pid for pid in marked(mark) if pid != owner.pid], "the part to live")
    owner.kill()
    owner.wait(LIMIT_S)
    owner.stdout.close()
    wait_until(lambda: not marked(mark), "the part to end")


class _Dead:
    """A process that has ended, its group long gone."""

    pid = 2**22  # above the kernel's largest process id
    returncode = 3

    def poll(self) -> int:
        """Its status."""
        return self.returncode

    def wait(self, _timeout: float | None = None) -> int:
        """At once."""
        return self.returncode


def test_a_long_log_begins_anew_while_its_part_writes(tmp_path: Path) -> None:
    """Four files at most, the newest lines in the one that the part holds open."""
    log = tmp_path / "web.log"
    with log.open("ab", buffering=0) as part:
        for number in range(6):
            part.write(f"{number}".encode() * 20)
            supervisor.rotate_log(log, most_bytes=10)
        part.write(b"last")
        supervisor.rotate_log(log, most_bytes=10)
    assert {path.name: path.read_text()[:4] for path in tmp_path.iterdir()} == {
        "web.log": "last",
        "web.log.1": "5555",
        "web.log.2": "4444",
        "web.log.3": "3333",
    }
