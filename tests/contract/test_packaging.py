"""The wheel holds what a service needs, and an install with one extra runs without the others."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
NEEDED = [
    "web/templates/base.html",
    "web/static/css/base.css",
    "web/static/js/page.js",
    "web/static/vendor/htmx-2.0.11/htmx.min.js",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/0001_create_tables.py",
    "shared/samples/__init__.py",
    "worker/engine/keras_engine.py",
    "training/recipes/__init__.py",
]


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run to its end; what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLAINFILM_")}
    ran = subprocess.run(
        command, cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False, timeout=1200
    )
    assert ran.returncode == 0, f"{command}: {ran.stdout[-2000:]}{ran.stderr[-4000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the tree as it is."""
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--wheel", "--out-dir", folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def web_only(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the `web` extra and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--python", python, f"plainfilm[web] @ {wheel.as_uri()}")
    return python


def names(wheel: Path) -> set[str]:
    """Every file inside."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_no_python_is_inside_too(wheel: Path, name: str) -> None:
    """Templates, scripts, migrations."""
    assert name in names(wheel)


@pytest.mark.parametrize(
    ("folder", "pattern"), [("worker/models/default", "*"), ("shared/samples", "*.png"), ("web/static", "**/*.*")]
)
def test_everything_of_a_folder_is_inside(wheel: Path, folder: str, pattern: str) -> None:
    """The shipped model, the sample films, all that pages are made of."""
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob(pattern) if path.is_file()}
    assert here
    assert here <= names(wheel)


def test_nothing_else_is_inside(wheel: Path) -> None:
    """No test, no data, no cache, no state of this machine."""
    tops = {name.split("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "web",
        "worker",
        "shared",
        "training",
        "migrations",
    }
    assert not [name for name in names(wheel) if "__pycache__" in name or name.endswith((".pyc", ".db", ".log"))]


def test_the_license_is_inside(wheel: Path) -> None:
    """And is a license, not an empty file."""
    (license_name,) = [name for name in names(wheel) if name.endswith(".dist-info/licenses/LICENSE")]
    with zipfile.ZipFile(wheel) as archive:
        assert len(archive.read(license_name)) > 1000


def test_the_front_door_needs_no_network_library(web_only: Path) -> None:
    """Neither TensorFlow nor scikit-learn was pulled in."""
    listed = run(UV, "pip", "list", "--python", web_only).lower()
    assert "flask" in listed
    assert not [name for name in ("tensorflow", "keras", "scikit-learn", "matplotlib", "pytest") if name in listed]


def test_the_front_door_can_be_opened_there(web_only: Path, tmp_path: Path) -> None:
    """Away from the source tree."""
    where = run(web_only, "-c", "import web.app; print(web.app.__file__)", cwd=tmp_path)
    assert str(ROOT) not in where


def test_migrations_run_there(web_only: Path, tmp_path: Path) -> None:
    """From an empty home to this build's schema, on SQLite."""
    plainfilm = web_only.with_name("plainfilm")
    run(plainfilm, "db", "upgrade", cwd=tmp_path, PLAINFILM_HOME=str(tmp_path / "home"))
    state = run(plainfilm, "db", "current", cwd=tmp_path, PLAINFILM_HOME=str(tmp_path / "home"))
    database, build = (word.split()[-1] for word in state.strip().split(","))
    assert database == build
    assert (tmp_path / "home" / "plainfilm.db").is_file()


def test_help_works_there(web_only: Path, tmp_path: Path) -> None:
    """Though half of the commands cannot run."""
    listed = run(web_only.with_name("plainfilm"), "--help", cwd=tmp_path)
    assert "train" in listed


@pytest.mark.parametrize("named", [("train", "--recipe", "tiny"), ("model", "verify")])
def test_a_command_of_another_extra_says_what_to_install(web_only: Path, tmp_path: Path, named: tuple[str]) -> None:
    """One line, no traceback; their help can be read all the same."""
    command = [web_only.with_name("plainfilm"), *named]
    assert "Usage:" in run(command[0], named[0], "--help", cwd=tmp_path)
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "pip install '.[training]' in the checkout" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_no_module_of_another_distribution_is_in_the_way(web_only: Path) -> None:
    """`web`, `worker`, `shared` are plain names: each is ours there."""
    packages = ["web", "worker", "shared", "training", "migrations"]
    code = f"from importlib.metadata import packages_distributions as p; print(*(p()[n] for n in {packages}))"
    assert run(web_only, "-c", code).split() == ["['plainfilm']"] * 5
