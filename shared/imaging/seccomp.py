"""The system calls that a decoder's child may make: memory, time, its own socket. All others fail with EPERM (seccomp).

Limits on files and processes do not stop a film that has taken over its child from reading the memory of the web
process, which has the same user, from killing it, or from deleting files by name; seccomp does. Linux on x86-64 and
arm64 (tested on x86-64); elsewhere nothing is confined, and `confine` returns False.

A filter is a BPF program, run by the kernel: load a word of the call's description, compare, jump.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Abi:
    """One architecture's numbers.

    Attributes:
        audit: the kernel's number of the architecture (`linux/audit.h`).
        calls: system calls that are always allowed.
        signals: system calls that send a signal: allowed to the child itself, so that it can abort.
    """

    audit: int
    calls: tuple[int, ...]
    signals: tuple[int, ...]


ABIS: Final[Mapping[str, Abi]] = MappingProxyType(
    {
        "x86_64": Abi(
            0xC000003E,
            (
                *(9, 10, 11, 12, 25, 28),  # mmap mprotect munmap brk mremap madvise
                *(0, 1, 3, 7, 44, 45, 271),  # read write close poll sendto recvfrom ppoll
                *(13, 14, 15),  # rt_sigaction rt_sigprocmask rt_sigreturn
                *(35, 38, 228, 230),  # nanosleep setitimer clock_gettime clock_nanosleep
                *(24, 202, 219),  # sched_yield futex restart_syscall
                *(39, 60, 186, 231, 318),  # getpid exit gettid exit_group getrandom
            ),
            (62, 234),  # kill tgkill
        ),
        "aarch64": Abi(
            0xC00000B7,
            (
                *(222, 226, 215, 214, 216, 233),
                *(63, 64, 57, 206, 207, 73),
                *(134, 135, 139),
                *(101, 103, 113, 115),
                *(124, 98, 128),
                *(172, 93, 178, 94, 278),
            ),
            (129, 131),
        ),
    }
)  # fmt: skip

LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
"""Operations of BPF: BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K."""

NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
"""Offsets in `struct seccomp_data`; for the argument, of its lower half on little-endian machines."""

ALLOW, REFUSE = 0x7FFF0000, 0x00050001
"""SECCOMP_RET_ALLOW, and SECCOMP_RET_ERRNO with EPERM."""

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
INSTRUCTION: Final = struct.Struct("=HBBI")


def is_available(machine: str = platform.machine(), status: Path = Path("/proc/self/status")) -> bool:
    """Whether `confine` can work on this machine, as far as can be known without calling it."""
    try:
        return machine in ABIS and "\nSeccomp:" in status.read_text(encoding="utf-8")
    except OSError:
        return False


def confine(machine: str = platform.machine()) -> bool:
    """Deny this process, irrevocably, all system calls that a decoder's child does not need; needs `no_new_privs`.

    Args:
        machine: as from `platform.machine`, which is called at import since it opens a file.

    Returns:
        False where this system has no seccomp filters, or its architecture has no list here.
    """
    abi = ABIS.get(machine)
    if abi is None or sys.platform != "linux":
        return False
    program = b"".join(INSTRUCTION.pack(*step) for step in instructions(abi, os.getpid()))
    buffer = ctypes.create_string_buffer(program, len(program))
    descriptor = struct.pack("HP", len(program) // INSTRUCTION.size, ctypes.addressof(buffer))
    status: int = ctypes.CDLL(None).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, descriptor, 0, 0)
    return status == 0


def instructions(abi: Abi, pid: int) -> Sequence[tuple[int, int, int, int]]:
    """Return (operation, jump if equal, jump if not, operand) of each step; a jump is the number of steps skipped.

    Args:
        pid: the only process to which a signal may be sent.
    """
    calls, signals = abi.calls, abi.signals
    allow = len(calls) + len(signals) + 6  # positions of the last two steps
    refuse = allow + 1
    steps = [(LOAD_WORD, 0, 0, ARCHITECTURE), (JUMP_IF_EQUAL, 0, refuse - 2, abi.audit), (LOAD_WORD, 0, 0, NUMBER)]
    steps += [(JUMP_IF_EQUAL, allow - place - 1, 0, call) for place, call in enumerate(calls, len(steps))]
    check_receiver = allow - 2
    steps += [(JUMP_IF_EQUAL, check_receiver - place - 1, 0, call) for place, call in enumerate(signals, len(steps))]
    steps.append((RETURN, 0, 0, REFUSE))
    steps += [(LOAD_WORD, 0, 0, FIRST_ARGUMENT), (JUMP_IF_EQUAL, 0, 1, pid)]
    return [*steps, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
