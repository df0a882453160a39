"""What the numbers were measured on: processor, cores, memory, versions, how busy the machine was, and which build."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("plainfilm", "celery", "flask", "gunicorn", "gevent", "litserve", "openvino", "tensorflow-cpu",
            "tensorflow", "keras", "pillow", "kornia-rs", "simplejpeg", "numpy", "sqlalchemy")  # fmt: skip


def describe() -> dict[str, Any]:  # Any: JSON
    """As it stands in the results."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions(),
        **build(ROOT),
    }


def build(folder: Path) -> dict[str, Any]:  # Any: JSON
    """Which build is measured: the commit of `folder`, and whether files differ from it; empty outside a repository."""
    commit, changed = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain")
    return {} if commit is None or changed is None else {"commit": commit, "is_dirty": bool(changed)}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it cannot."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def processor() -> str:
    """The processor's own name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of what is installed and plays a part."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
