"""Coarser arithmetic serves only where the golden films say the same in it; else f32 does, and the log says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared import samples
from shared.manifest import ModelManifest, read_manifest
from shared.settings import Settings
from tests.fakes import FakeEngine
from tests.models import write_model
from training.golden import write_golden
from worker.engine import choose, openvino_engine
from worker.engine.golden import Golden, GoldenState, read_golden
from worker.engine.weights import Weights, load_weights
from worker.load import choose_batch_limit, load_engine

ENGINES = ("keras", "openvino")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with a golden set."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    write_golden(folder, samples.paths()[:3])
    return folder


def make_settings(tmp_path: Path, engine: str, precision: str = "bf16") -> Settings:
    """Settings that ask for that arithmetic."""
    return Settings(home=tmp_path, engine=engine, precision=precision)  # type: ignore[arg-type]


def model(folder: Path, **changes: object) -> tuple[ModelManifest, Weights, Golden]:
    """What a child reads; `changes` are the golden set's."""
    manifest, golden = read_manifest(folder), read_golden(folder)
    assert golden is not None
    return manifest, load_weights(folder, manifest), golden.model_copy(update=changes)


@pytest.mark.parametrize("engine", ENGINES)
def test_coarse_arithmetic_serves_where_the_films_say_the_same(tmp_path: Path, folder: Path, engine: str) -> None:
    """Within the set's tolerance; each result then names the precision."""
    loaded, said = load_engine(make_settings(tmp_path, engine), *model(folder, tolerance=10.0))
    assert said is GoldenState.PASSED
    assert loaded.device.endswith(" bf16")
    assert not choose.build_engine(engine, *model(folder)[:2]).device.endswith(" bf16")  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ENGINES)
def test_coarse_arithmetic_is_refused_where_they_do_not(tmp_path: Path, folder: Path, engine: str) -> None:
    """It moves scores by more than f32 may anywhere: f32 serves, and a line of the log names the film."""
    with capture_logs() as logs:
        loaded, said = load_engine(make_settings(tmp_path, engine), *model(folder, tolerance=1e-6, device="cpu/other"))
    assert said is GoldenState.PASSED
    assert not loaded.device.endswith(" bf16")
    assert [line["event"] for line in logs] == ["worker.precision_refused"]
    assert "is off by" in logs[0]["why"]


@pytest.mark.parametrize(("computes_in", "engine"), [("bf16", "openvino"), ("f32", "openvino"), ("bf16", "keras")])
def test_the_processor_chooses_the_arithmetic_unless_it_is_set(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, computes_in: str, engine: str
) -> None:
    """bf16 where it computes in it by itself and OpenVINO serves, if the golden films say the same in it."""
    monkeypatch.setattr(openvino_engine, "computes_bf16", lambda: computes_in == "bf16")
    settings = make_settings(tmp_path, engine, "auto")
    loaded, said = load_engine(settings, *model(folder, tolerance=10.0))
    assert said is GoldenState.PASSED
    assert loaded.device.endswith(" bf16") is ((computes_in, engine) == ("bf16", "openvino"))
    loaded, _ = load_engine(settings, *model(folder, tolerance=1e-6, device="cpu/other"))
    assert not loaded.device.endswith(" bf16")


def test_without_golden_films_the_usual_arithmetic_is_f32(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is warned of: nobody asked for another."""
    monkeypatch.setattr(openvino_engine, "computes_bf16", lambda: True)
    manifest, weights, _ = model(folder)
    with capture_logs() as logs:
        loaded, said = load_engine(make_settings(tmp_path, "openvino", "auto"), manifest, weights, None)
    assert said is GoldenState.ABSENT
    assert not loaded.device.endswith(" bf16")
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
    loaded, said = load_engine(make_settings(tmp_path, "openvino"), manifest, weights, None)
    assert said is GoldenState.ABSENT
    assert not loaded.device.endswith(" bf16")
