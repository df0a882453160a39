"""Print the interpreter that the Makefile makes its environment with: `python3`, or a quicker build of its version.

Builds of one version differ: a distribution's is optimized by what it was seen to do, one that pyenv compiled is not
unless told, and takes a third longer for the same work (DECISIONS 74). Any Python from 3.6 on runs this.
"""

import json
import os
import subprocess
import sys
from typing import Dict, List, Optional, Tuple

VERSIONS = ((3, 11), (3, 12), (3, 13))
"""Those that plainfilm runs on; where `python3` is none of them, the first of these that is found is taken."""

WORTH_IT = 1.1
"""How many times as quick another build must be: less is noise, and `python3` is what people expect."""

RUNS = 3
"""Of so many counts each build's best, in turns: what else the machine does meets all of them."""

LOOK = """
import ctypes, ensurepip, json, os, sqlite3, ssl, sys, venv
print(json.dumps([os.path.realpath(sys.executable), sys.version_info[:2], sys.implementation.name]))
"""
"""What is imported here an environment needs; Debian keeps some of it in python3-venv."""

WORK = """
import time
class Film:
    def __init__(self, number): self.number = number
    def told(self, *labels, **facts): return {"film": self.number, **facts, "labels": labels}
def work():
    told = [Film(n).told("normal", str(n), probability=n / 7) for n in range(6000)]
    return sorted(told, key=lambda film: -film["probability"])[0]
work()
started = time.perf_counter()
work()
print(time.perf_counter() - started)
"""


def ask(interpreter: str, code: str) -> Optional[str]:
    """What `code` prints there, nothing of the machine's own being loaded; None where it fails."""
    try:
        done = subprocess.run(  # noqa: S603  an interpreter of the caller's own PATH
            [interpreter, "-I", "-S", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode()


def find() -> List[Tuple[str, Tuple[int, ...]]]:
    """Path and version of each CPython that can make an environment, PATH's first `python3` first; each build once."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found: Dict[str, Tuple[str, Tuple[int, ...]]] = {}
    for name in ("python3", *(f"python{major}.{minor}" for major, minor in VERSIONS)):
        for path in (os.path.join(folder, name) for folder in folders):  # noqa: PTH118  as PATH has it
            said = ask(path, LOOK) if os.access(path, os.X_OK) else None
            if said:
                real, version, implementation = json.loads(said)
                if implementation == "cpython" and tuple(version) in VERSIONS:
                    found.setdefault(real, (path, tuple(version)))
    return list(found.values())


def measure(builds: List[str]) -> Dict[str, float]:
    """The seconds that each takes for the same work."""
    took: Dict[str, List[float]] = {path: [] for path in builds}
    for _ in range(RUNS):
        for path in builds:
            took[path].append(float(ask(path, WORK) or "inf"))
    return {path: min(times) for path, times in took.items()}


def main() -> None:
    """Print the path, and to stderr why it is not that of `python3`."""
    found = find()
    if not found:
        sys.exit(
            "plainfilm needs Python 3.11, 3.12 or 3.13 with venv (Debian: apt-get install python3-venv). "
            "Name one that is not on PATH: make PYTHON=/path/to/python3.12 run"
        )
    first, wanted = found[0]
    builds = [path for path, version in found if version == wanted]
    took = measure(builds) if len(builds) > 1 else {first: 1.0}
    best = min(builds, key=took.__getitem__)
    gain = took[first] / took[best]
    if gain >= WORTH_IT:
        sys.stderr.write(
            f"{best}: {gain:.1f} times as quick as {first}. To use that: make clean, then make PYTHON={first}\n"
        )
    sys.stdout.write(f"{best if gain >= WORTH_IT else first}\n")


if __name__ == "__main__":
    main()
