"""How each part of a trial starts: tied to the harness's life, then the product's own command.

    python -m tests.chaos.entry exec <command ...>           any other program
    python -m tests.chaos.entry as <user> <command ...>      likewise, as another user (PostgreSQL refuses root)
    python -m tests.chaos.entry worker run --queues ...      a command of `plainfilm`

Workers get the stand-in engine where CHAOS_ENGINE is 'standin', else what they are set to.
"""

from __future__ import annotations

import os
import pwd
import sys
import types

from shared.processes import die_with_parent
from tests.chaos import faulty, hazards

REAL_ENGINES = ("worker.engine.keras_engine", "worker.engine.openvino_engine")


def main() -> None:
    """Become what the arguments say."""
    die_with_parent()
    how, *rest = sys.argv[1:]
    if how == "exec":
        os.execvp(rest[0], rest)  # noqa: S606  the harness's own command
    if how == "as":
        become(rest[0])
        os.execvp(rest[1], rest[1:])  # noqa: S606  likewise
    if how == "worker" and os.environ.get("CHAOS_ENGINE") == "standin":
        put_stand_in()
    if how == "worker":
        hazards.shift_clock()
        faulty.arm()
    from shared.cli import main as plainfilm  # noqa: PLC0415  the other ways need none of it

    sys.argv = ["plainfilm", how, *rest]
    plainfilm()


def become(user: str) -> None:
    """Give up root for `user`; the tie to the parent is undone by that, so it is made again."""
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    die_with_parent()


def put_stand_in() -> None:
    """Let whoever imports a real engine's module find the stand-in there: the one thing that is not the product's."""
    from tests.chaos import standin  # noqa: PLC0415

    for name in REAL_ENGINES:
        module = types.ModuleType(name)
        module.build_engine = standin.build_engine  # type: ignore[attr-defined]
        sys.modules[name] = module


if __name__ == "__main__":
    main()
