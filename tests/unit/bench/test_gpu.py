"""A GPU beside its machine's CPU: `tests/bench/gpu.py`, `gpu_engine.py` and what they write."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bench import gpu, gpu_render
from tests.bench.store import HERE

WORKER_LOG = """\
plain words of Celery's
{"event": "batch.done", "claimed": 3}
{"event": "worker.started", "device": "cpu"}
{"event": "batch.done", "claimed": 32}
"""


def test_the_page_is_made_of_the_results() -> None:
    """GPU.md is what `gpu.json` says."""
    results = json.loads((HERE / gpu.NAME).read_text(encoding="utf-8"))
    assert (HERE / gpu.TEXT).read_text(encoding="utf-8") == gpu_render.markdown(results)


def test_what_failed_is_told_and_services_are_shown() -> None:
    """One engine that could not be asked leaves the others, and no row of its own."""
    results = json.loads((HERE / gpu.NAME).read_text(encoding="utf-8"))
    results["engines"]["an engine"] = {"failed": "OSError: no such library"}
    load = {"load": "png-1024-32", "films": 9, "films_a_batch": 4.5,
            "measures": {"films_per_s": 123.4, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_ms_per_film": 3.0}}  # fmt: skip
    results["services"]["a service"] = {"device": "gpu", "first_s": 30.25, "second_s": 0.5, "loads": [load]}
    page = gpu_render.markdown(results)
    assert "Not measured: an engine (engines): OSError: no such library" in page
    assert "| an engine |" not in page
    assert "| a service | png-1024-32 | 123.4 | 1.0 | 2.0 | 3.0 | 4.5 |" in page
    assert "| a service | 30.25 | 0.500 |" in page


def test_each_load_has_films_of_its_own() -> None:
    """By the loads' shares, in order, none left and none twice."""
    paths = [Path(str(number)) for number in range(42)]
    found = gpu.parts(paths)
    assert [path for part in found for path in part] == paths
    assert [len(part) for part in found] == [2, 20, 20]


def test_batches_are_read_from_the_workers_log(tmp_path: Path) -> None:
    """Whatever else stands there."""
    (tmp_path / "home" / "logs").mkdir(parents=True)
    (tmp_path / "home" / "logs" / "worker.log").write_text(WORKER_LOG, encoding="utf-8")
    assert gpu.batches(SimpleNamespace(folder=tmp_path)) == [3, 32]


def test_a_fault_leaves_the_others_to_measure(capsys: pytest.CaptureFixture[str]) -> None:
    """It stands in the results, and on the terminal."""

    def fail() -> dict[str, object]:
        raise RuntimeError("the engine ran on cpu")

    assert gpu.tried("a case", fail) == {"failed": "RuntimeError: the engine ran on cpu"}
    assert "RuntimeError: the engine ran on cpu" in capsys.readouterr().out


def test_without_a_gpu_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so at once, and leaves earlier results alone."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.main(["--out", str(tmp_path)]) == 1
    assert "no NVIDIA GPU here" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
