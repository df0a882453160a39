"""Coarser arithmetic serves only where the golden films say the same in it; else f32 does, and the log says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared import samples
from shared.manifest import ModelManifest, read_manifest
from shared.settings import Settings
from tests.fakes import FakeEngine
from tests.models import quantize_model, write_model
from training.golden import write_golden
from worker.engine import choose
from worker.engine.golden import Golden, GoldenState, read_golden
from worker.engine.weights import Weights, load_weights
from worker.load import choose_batch_limit, load_serving_engine

COARSE = {"keras": "bf16", "openvino": "int8"}
"""Engine to its coarser arithmetic."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with a golden set, quantized."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    write_golden(folder, samples.paths()[:3])
    quantize_model(folder)
    return folder


def make_settings(tmp_path: Path, engine: str, precision: str | None = None) -> Settings:
    """Settings that ask for that arithmetic, the engine's coarser one unless given."""
    return Settings(home=tmp_path, engine=engine, precision=precision or COARSE[engine])  # type: ignore[arg-type]


def model(folder: Path, **changes: object) -> tuple[ModelManifest, Weights, Golden]:
    """What a child reads; `changes` are the golden set's."""
    manifest, golden = read_manifest(folder), read_golden(folder)
    assert golden is not None
    return manifest, load_weights(folder, manifest), golden.model_copy(update=changes)


@pytest.mark.parametrize("engine", COARSE)
def test_coarse_arithmetic_serves_where_the_films_say_the_same(tmp_path: Path, folder: Path, engine: str) -> None:
    """Within the set's tolerance; each result then names the precision."""
    loaded, said = load_serving_engine(make_settings(tmp_path, engine), *model(folder, tolerance=10.0))
    assert said is GoldenState.PASSED
    assert loaded.device.endswith(f" {COARSE[engine]}")
    assert " " not in choose.build_engine(engine, *model(folder)[:2]).device  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", COARSE)
def test_coarse_arithmetic_is_refused_where_they_do_not(tmp_path: Path, folder: Path, engine: str) -> None:
    """It moves scores by more than f32 may anywhere: f32 serves, and a line of the log names the film."""
    with capture_logs() as logs:
        loaded, said = load_serving_engine(
            make_settings(tmp_path, engine), *model(folder, tolerance=1e-6, device="cpu/other")
        )
    assert said is GoldenState.PASSED
    assert " " not in loaded.device
    assert [line["event"] for line in logs] == ["worker.precision_refused"]
    assert "is off by" in logs[0]["why"]


@pytest.mark.parametrize(("has_int8", "engine"), [(True, "openvino"), (False, "openvino"), (True, "keras")])
def test_the_processor_chooses_the_arithmetic_unless_it_is_set(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, engine: str, *, has_int8: bool
) -> None:
    """int8 where it has instructions for it and OpenVINO serves, if the golden films say the same in it."""
    monkeypatch.setattr(choose, "computes_int8", lambda: has_int8)
    settings = make_settings(tmp_path, engine, "auto")
    loaded, said = load_serving_engine(settings, *model(folder, tolerance=10.0))
    assert said is GoldenState.PASSED
    assert loaded.device.endswith(" int8") is (has_int8 and engine == "openvino")
    loaded, _ = load_serving_engine(settings, *model(folder, tolerance=1e-6, device="cpu/other"))
    assert " " not in loaded.device


def test_arithmetic_that_the_engine_has_not_is_told(tmp_path: Path, folder: Path) -> None:
    """f32 serves, and a line of the log says why."""
    with capture_logs() as logs:
        loaded, said = load_serving_engine(make_settings(tmp_path, "openvino", "bf16"), *model(folder))
    assert said is GoldenState.PASSED
    assert " " not in loaded.device
    assert [(line["event"], line["precision"]) for line in logs] == [("worker.precision_refused", "bf16")]
    assert "f32 or int8" in logs[0]["why"]


def test_without_golden_films_the_usual_arithmetic_is_f32(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is warned of: nobody asked for another."""
    monkeypatch.setattr(choose, "computes_int8", lambda: True)
    manifest, weights, _ = model(folder)
    with capture_logs() as logs:
        loaded, said = load_serving_engine(make_settings(tmp_path, "openvino", "auto"), manifest, weights, None)
    assert said is GoldenState.ABSENT
    assert " " not in loaded.device
    assert logs == []


@pytest.mark.parametrize(("device", "films"), [("cpu/openvino-1", 8), ("gpu/tensorflow-1", 32)])
def test_the_device_chooses_the_batch_unless_it_is_set(tmp_path: Path, device: str, films: int) -> None:
    """Eight on a CPU, more on a GPU."""
    settings = Settings(home=tmp_path)
    assert choose_batch_limit(settings, FakeEngine(device=device)) == films
    assert choose_batch_limit(settings.model_copy(update={"batch_limit": 5}), FakeEngine(device=device)) == 5


def test_coarse_arithmetic_needs_golden_films(tmp_path: Path, folder: Path) -> None:
    """Without any, nobody can say what it does to the scores."""
    manifest, weights, _ = model(folder)
    loaded, said = load_serving_engine(make_settings(tmp_path, "openvino"), manifest, weights, None)
    assert said is GoldenState.ABSENT
    assert " " not in loaded.device
