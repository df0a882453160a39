"""A model is quantized by films that it learned from; it then says nearly the same in integers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest

from shared import samples
from shared.arrays import FloatArray
from shared.errors import DataProblem, InvalidRequest, ManifestMismatch
from shared.manifest import read_manifest
from tests.models import make_arrays, make_manifest, quantize_model, write_model
from training import quantize as module
from training.dataset import film_sha256
from training.export import fold
from training.fit import ignore
from training.learned import LearnedFilms, write_learned
from training.quantize import learned_among, quantize, write_int8
from training.rounding import InputStatistics
from worker.engine import openvino_engine, openvino_network
from worker.engine.architecture import folded, lite0
from worker.engine.layers import Conv
from worker.engine.weights import Weights, load_weights


def test_rows_behind_the_first_ones_are_rounded() -> None:
    """All convolutions but those that the table keeps in float32."""
    table = lite0(3)
    weights = Weights(folded(table), fold(table, make_arrays(table)), None)
    films = np.random.default_rng(1).random((1, *table.input_shape), np.float32)
    found = quantize(weights, films, ignore)
    names = [layer.name for layer in weights.architecture.layers]
    assert next(iter(found)) == "block02_expand"
    assert list(found) == [name for name in names if f"{name}.kernel" in weights.arrays][5 + 1 : -1]
    assert all(parts.keys() == {"up", "scale", "bias", "range"} for parts in found.values())


def test_a_quantized_model_says_nearly_the_same(tmp_path: Path) -> None:
    """Probabilities within .02 of float32's, but not equal; its device names the arithmetic."""
    write_model(tmp_path)
    quantize_model(tmp_path)
    manifest = read_manifest(tmp_path)
    weights = load_weights(tmp_path, manifest)
    coarse, fine = (openvino_engine.build_engine(manifest, weights, precision=each) for each in ("int8", "f32"))
    x = np.random.default_rng(8).random((20, 64, 64, 1), np.float32)
    apart = np.abs(coarse.infer(x).probabilities - fine.infer(x).probabilities)
    assert 0 < apart.max() < 0.02
    assert coarse.device == f"{fine.device} int8"


def test_a_row_sees_what_the_rounded_rows_before_it_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second convolution's input is not the float network's."""
    seen: dict[str, list[FloatArray]] = {}
    measure = module.measure_inputs

    def measure_inputs(layer: Conv, films: list[FloatArray]) -> InputStatistics:
        seen[layer.name] = films
        return measure(layer, films)

    monkeypatch.setattr(module, "measure_inputs", measure_inputs)
    manifest = write_model(tmp_path)
    weights = load_weights(tmp_path, manifest)
    films = np.random.default_rng(8).random((2, 64, 64, 1), np.float32)
    quantize(weights, films, ignore)
    entry, nodes = openvino_network.connect(weights.architecture, weights.arrays, {})
    exact = openvino_network.compile_network(openvino.Model([nodes["conv1_relu"]], [entry], "exact"), 1)
    expected = exact([films[0].transpose(2, 0, 1)[np.newaxis]])[0][0]
    assert 1e-4 < np.abs(seen["conv2"][0] - expected).max() < 0.1


def test_only_what_openvino_serves_is_quantized(tmp_path: Path) -> None:
    """A network whose maps come from an earlier row is not."""
    write_model(tmp_path, target_layer="conv1_relu")
    with pytest.raises(ManifestMismatch, match="'tiny'"):
        write_int8(tmp_path, samples.paths(), 0, ignore)


def test_films_it_did_not_learn_from_are_left(tmp_path: Path) -> None:
    """None at all is an error, as is a model that has no record of its films."""
    paths = samples.paths()
    with pytest.raises(DataProblem, match="learned from none"):
        learned_among(tmp_path, paths)
    mine = sorted(film_sha256(path) for path in paths[:4])
    write_learned(tmp_path, LearnedFilms(learned_from=tuple(mine[:3]), chosen_by=tuple(mine[3:])))
    assert sorted(film_sha256(path) for path in learned_among(tmp_path, paths)) == mine[:3]


def test_the_order_of_the_films_plays_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are drawn, by their bytes; other seeds draw others."""
    monkeypatch.setattr(module, "FILMS", 3)
    write_model(tmp_path)
    first = write_int8(tmp_path, samples.paths(), 3, ignore)
    second = write_int8(tmp_path, samples.paths()[::-1], 3, ignore)
    assert first.int8_sha256 == second.int8_sha256 is not None
    assert write_int8(tmp_path, samples.paths(), 4, ignore).int8_sha256 != first.int8_sha256
    assert first.model_copy(update={"int8_sha256": None}) == make_manifest(weights_sha256=first.weights_sha256)


def test_the_model_loads_whenever_quantizing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off between its two files it is a model that was not quantized, and is mended by doing it again."""
    write_model(tmp_path)
    write_int8(tmp_path, samples.paths()[:3], 0, ignore)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_whole", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_int8(tmp_path, samples.paths()[3:6], 0, ignore)
    assert not load_weights(tmp_path, read_manifest(tmp_path)).int8
    (tmp_path / "int8.npz").unlink()
    write_int8(tmp_path, samples.paths()[:3], 0, ignore)
    assert load_weights(tmp_path, read_manifest(tmp_path)).int8


def test_a_folder_that_may_not_be_written_to_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As wherever a model is written."""
    write_model(tmp_path)
    monkeypatch.setattr(module, "quantize", lambda *_: pytest.fail("it was done"))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InvalidRequest, match="may not be written"):
        write_int8(tmp_path, samples.paths(), 0, ignore)


def test_a_run_without_openvino_is_not_quantized(tmp_path: Path) -> None:
    """The GPU's extra has none: training is imported without it, and says so at the end of a run."""
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from pathlib import Path\n"
        "from training import run\n"
        "run.find_spec = lambda name: None\n"
        "from training.recipes import find_recipe\n"
        f"print(run.run(find_recipe('tiny'), Path('.'), Path({str(tmp_path / 'run')!r}), '2026-01-01', "
        "lambda *_: None).manifest.int8_sha256)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "None"
    assert "not quantized: OpenVINO is not installed" in (tmp_path / "run" / "run.log").read_text()
