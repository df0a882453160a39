"""The engine on TensorFlow: probabilities and Grad-CAM in one traced call, on a GPU or the CPU.

With `keras_network.py`, which builds the network, `saliency.py` and `keras_explainer.py` the only serving files that
import TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from shared.arrays import FloatArray
from shared.errors import ManifestMismatch
from shared.manifest import ModelManifest, read_manifest
from worker.engine.base import Inference, check_input
from worker.engine.choose import GPU_BATCH, Precision
from worker.engine.gate import Gate, pool
from worker.engine.keras_network import POLICIES, build_halves, set_arrays
from worker.engine.saliency import grad_cam
from worker.engine.weights import Weights, load_weights

Tensors = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
Traced = Callable[[tf.Tensor], Tensors]
"""Inputs (N, H, W, C) to probabilities (N, K), other (N,), saliency (N, h, w), the gate's row (N, h', w', C')."""


class KerasEngine:
    """An `Engine` on TensorFlow; build it with `load_engine`."""

    def __init__(
        self, manifest: ModelManifest, traced: Traced, gate: Gate | None, device: str, *, fills_up: bool = False
    ) -> None:
        """Make the engine; `fills_up`: whether batches are padded, see `fill_up`."""
        self._manifest = manifest
        self._traced = traced
        self._gate = gate
        self._device = device
        self._fills_up = fills_up

    @property
    def manifest(self) -> ModelManifest:
        """The manifest of the loaded weights."""
        return self._manifest

    @property
    def device(self) -> str:
        """Kind of device and build, e.g. 'cpu/tensorflow-2.21.0'."""
        return self._device

    def infer(self, x: FloatArray) -> Inference:
        """Return scores and Grad-CAM for x: (N, H, W, C) float32 in [0, 1], N >= 1.

        Raises:
            WrongShape: x is not of the manifest's input shape.
        """
        check_input(x, self._manifest.input_shape)
        films = tf.constant(fill_up(x) if self._fills_up else x)
        probabilities, other, saliency, early = (tensor.numpy()[: len(x)] for tensor in self._traced(films))
        nothing = np.zeros(len(x), np.float32)
        film, feature = self._gate.distances(pool(early)) if self._gate else (nothing, nothing)
        return Inference(probabilities, other, film, feature, saliency)


def load_engine(folder: Path) -> KerasEngine:
    """Return an engine of the model in `folder`: read, verified, built, traced and warmed up.

    Raises:
        ModelProblem: ManifestMismatch, BadChecksum or WrongShape; see `weights.load_weights`.
    """
    manifest = read_manifest(folder)
    return build_engine(manifest, load_weights(folder, manifest))


def build_engine(
    manifest: ModelManifest, weights: Weights, threads: int | None = None, precision: Precision = "f32"
) -> KerasEngine:
    """Return the engine of weights that are already checked.

    Args:
        threads: cores that TensorFlow computes on, TensorFlow's own choice by default; it can only be set in a process
            that has not used TensorFlow yet.

    Raises:
        ManifestMismatch: TensorFlow does not compute in that precision.
    """
    if precision not in POLICIES:
        raise ManifestMismatch(f"This model cannot be computed in {precision}: TensorFlow serves in f32 or bf16.")
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    device = claim_device() + (" bf16" if precision == "bf16" else "")
    trunk, head = build_halves(weights.architecture, manifest.target_layer, precision)
    set_arrays((trunk, head), weights.architecture, weights.arrays)
    is_gpu = device.startswith("gpu/")
    engine = KerasEngine(manifest, _trace(trunk, head, manifest), weights.gate, device, fills_up=is_gpu)
    for films in _sizes(GPU_BATCH if is_gpu else 1):
        engine.infer(np.zeros((films, *manifest.input_shape), np.float32))
    return engine


def fill_up(x: FloatArray) -> FloatArray:
    """Return a batch (N, H, W, C) padded with black films to the next power of two.

    cuDNN searches its algorithms anew for every batch size that it meets, which took an H200 .35 s in float32 and
    4.7 s in bfloat16.
    """
    missing = (1 << (len(x) - 1).bit_length()) - len(x)
    return np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)]) if missing else x


def _sizes(most: int) -> Iterator[int]:
    """Return the powers of two up to `most`."""
    return (1 << power for power in range(most.bit_length()))


def claim_device() -> str:
    """Let GPU memory grow as needed, compute float32 in full and not as TF32, and return the device's name."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        if not tf.config.experimental.get_memory_growth(gpu):
            tf.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        tf.config.experimental.enable_tensor_float_32_execution(False)
    return f"{'gpu' if gpus else 'cpu'}/tensorflow-{tf.__version__}"


def _trace(trunk: keras.Model, head: keras.Model, manifest: ModelManifest) -> Traced:
    """Return one graph with its weights as constants (a quarter to a third less CPU time than as variables)."""
    early, labels = manifest.gate_layer, len(manifest.labels)
    both = keras.Model(trunk.input, [trunk.output, trunk.get_layer(early).output if early else trunk.input])

    def infer(x: tf.Tensor) -> Tensors:
        features, seen = both(x, training=False)
        logits, saliency = grad_cam(lambda rows: head(rows, training=False), features, labels)
        logits, saliency, seen = (tf.cast(tensor, tf.float32) for tensor in (logits, saliency, seen))
        scaled = logits / manifest.temperature
        other = tf.reduce_sum(tf.nn.softmax(scaled)[:, labels:], axis=1)
        return tf.nn.softmax(scaled[:, :labels]), other, saliency, seen if early else seen[:, :0]

    signature = [tf.TensorSpec((None, *manifest.input_shape), tf.float32)]
    traced = tf.function(infer, input_signature=signature, autograph=False).get_concrete_function()
    frozen = convert_variables_to_constants_v2(traced)

    def call(x: tf.Tensor) -> Tensors:
        probabilities, other, saliency, seen = frozen(x)
        return probabilities, other, saliency, seen

    return call
