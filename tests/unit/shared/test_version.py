"""The code's version: it changes with what answers films, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import shared
from shared.version import ANSWER_SOURCES, CODE_VERSION, PACKAGE_VERSION, digest

ROOT = Path(shared.__file__).parents[1]


def test_the_version_names_the_code_that_answers() -> None:
    """Behind the package's, as PEP 440 has it; it fits the column."""
    assert f"{PACKAGE_VERSION}+{digest(ROOT)}" == CODE_VERSION
    assert len(CODE_VERSION) <= 32


def test_every_part_of_an_answer_is_among_them() -> None:
    """None of the patterns has lost its files."""
    found = {path.relative_to(ROOT).as_posix() for pattern in ANSWER_SOURCES for path in ROOT.glob(pattern)}
    named = {"shared/imaging/decode.py", "shared/imaging/preprocess.py", "shared/verdict.py", "worker/engine/gate.py"}
    assert named <= found
    assert all(list(ROOT.glob(pattern)) for pattern in ANSWER_SOURCES)


def test_a_changed_byte_a_new_file_and_a_new_name_change_it(tmp_path: Path) -> None:
    """And a file beside them does not."""
    package = tmp_path / "shared" / "imaging"
    package.mkdir(parents=True)
    (package / "a.py").write_text("1")
    seen = [digest(tmp_path)]
    (package / "notes.txt").write_text("2")
    (package / ".#a.py").symlink_to("nowhere")  # an editor's lock
    assert digest(tmp_path) == seen[0]
    (package / "a.py").write_text("2")
    seen.append(digest(tmp_path))
    (package / "b.py").write_text("")
    seen.append(digest(tmp_path))
    (package / "b.py").rename(package / "c.py")
    seen.append(digest(tmp_path))
    assert len(set(seen)) == len(seen)
