"""Which engine serves: by device, by network, by setting."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from shared.errors import ManifestMismatch, ModelProblem
from tests.models import make_manifest, write_model
from worker.engine import choose
from worker.engine.architecture import folded, lite0, seed2020, tiny
from worker.engine.choose import build_engine, ends_pooled
from worker.engine.weights import load_weights


@pytest.mark.parametrize(("has_gpu", "expected"), [(False, "openvino"), (True, "keras")])
def test_a_gpu_is_tensorflows_and_a_cpu_openvinos(has_gpu: bool, expected: str) -> None:  # noqa: FBT001  a table's cell
    """For a network that both can serve."""
    architecture = folded(lite0(4))
    assert choose.choose(architecture, architecture.target_layer, has_gpu=has_gpu) == expected


@pytest.mark.parametrize(("package", "expected"), [("tensorflow", True), ("tensorflow-cpu", False)])
def test_a_gpu_is_of_use_to_a_tensorflow_made_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, *, expected: bool
) -> None:
    """Beside tensorflow-cpu a machine with a GPU is served as any CPU is; without a GPU neither makes one."""

    def find(name: str) -> object:
        if name != package:
            raise PackageNotFoundError(name)
        return object()

    monkeypatch.setattr(choose, "distribution", find)
    monkeypatch.setattr(choose, "GPU", tmp_path)
    assert choose.can_use_gpu() is expected
    monkeypatch.setattr(choose, "GPU", tmp_path / "absent")
    assert not choose.can_use_gpu()


def test_a_network_that_needs_gradients_is_tensorflows() -> None:
    """The study's: its maps come from an earlier row."""
    assert choose.choose(folded(seed2020(3)), "conv4_relu", has_gpu=False) == "keras"


def test_without_openvino_tensorflow_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """And who asks for the absent one by name is told how to get it."""
    monkeypatch.setattr(choose, "find_spec", lambda name: None if name == "openvino" else object())
    architecture = folded(lite0(4))
    assert choose.choose(architecture, architecture.target_layer, has_gpu=False) == "keras"
    with pytest.raises(ModelProblem, match="pip install"):
        build_engine("openvino", make_manifest(), None)  # type: ignore[arg-type]


def test_the_setting_decides(tmp_path: Path) -> None:
    """By name, whatever the machine; an engine that cannot serve the network says so."""
    manifest = write_model(tmp_path)
    weights = load_weights(tmp_path, manifest)
    assert build_engine("keras", manifest, weights).device.startswith(("cpu/tensorflow-", "gpu/tensorflow-"))
    assert build_engine("openvino", manifest, weights).device.startswith("cpu/openvino-")
    with pytest.raises(ManifestMismatch):
        build_engine("openvino", make_manifest(target_layer="conv1_relu"), weights)


def test_what_follows_the_maps_row_decides() -> None:
    """Pooling and one dense layer, nothing else; an unknown row is no end either."""
    architecture = folded(tiny(3))
    assert ends_pooled(architecture, architecture.target_layer)
    assert not ends_pooled(architecture, "conv1_relu")
    assert not ends_pooled(architecture, "elsewhere")
