"""An `Explainer` on TensorFlow: the weights that serve, in traced functions that also compute gradients.

It is separate from the engine, so that the answer to a film never waits for an explanation nor pays for its graphs.
Called by the worker's explanations, by the report's sheets and by `training/explain_check.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from shared.arrays import FloatArray
from shared.domain import PIXEL_METHODS, ExplanationMethod
from shared.manifest import ModelManifest, read_manifest
from shared.verdict import calibrate
from worker.engine import attribution, saliency
from worker.engine.architecture import Architecture
from worker.engine.base import check_input
from worker.engine.explain import (
    IntegratedGradients,
    Labels,
    Parameters,
    SmoothGrad,
    check_labels,
    parameters_for,
)
from worker.engine.keras_engine import claim_device
from worker.engine.keras_network import build_halves, set_arrays
from worker.engine.weights import load_weights


@dataclass(frozen=True, slots=True)
class Traced:
    """The network as three graphs of one signature each; labels are (N,) int32.

    Attributes:
        logits: inputs (N, H, W, C) to logits of the manifest's labels (N, K).
        cams: inputs and labels to Grad-CAM and Grad-CAM++ maps, (N, h, w) each.
        gradient: inputs and labels to d logit / d input (N, H, W, C).
    """

    logits: Callable[[tf.Tensor], tf.Tensor]
    cams: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    gradient: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class KerasExplainer:
    """An `Explainer`; every method explains the label's logit, before softmax and temperature."""

    def __init__(self, manifest: ModelManifest, traced: Traced, device: str) -> None:
        self._manifest = manifest
        self._traced = traced
        self._device = device

    @property
    def manifest(self) -> ModelManifest:
        """The manifest of the loaded weights."""
        return self._manifest

    @property
    def device(self) -> str:
        """Kind of device and build, e.g. 'cpu/tensorflow-2.21.0'."""
        return self._device

    def scores(self, x: FloatArray) -> FloatArray:
        """Return calibrated probabilities (N, K) float32 over the manifest's labels; see `Explainer.scores`."""
        return calibrate(self.logits(x), self._manifest.temperature)

    def logits(self, x: FloatArray) -> FloatArray:
        """Return the logits, which are the scores explained: (N, K) float32, one a label of the manifest.

        Raises:
            WrongShape: x does not fit the model.
        """
        check_input(x, self._manifest.input_shape)
        return np.concatenate([self._traced.logits(tf.constant(x[part])).numpy() for part in _parts(len(x))])

    def explain(
        self,
        x: FloatArray,
        method: str,
        labels: Labels | None = None,
        seed: int = 0,
        parameters: Parameters | None = None,
    ) -> FloatArray:
        """Return saliency maps (N, h, w) float32 in [0, 1] of x: (N, H, W, C); see `Explainer.explain`."""
        how = parameters_for(method, parameters)
        check_input(x, self._manifest.input_shape)
        chosen = self.logits(x).argmax(axis=1) if labels is None else labels
        check_labels(chosen, len(x), self._manifest)
        if method not in PIXEL_METHODS:
            return self._cams(x, chosen)[method]
        return attribution.to_map(self.attributions(x, chosen, how, seed))

    def attributions(self, x: FloatArray, labels: Labels, parameters: Parameters, seed: int) -> FloatArray:
        """Return signed attributions (N, H, W, C), in the logit's unit, of which the pixel methods' maps are made.

        Args:
            x: (N, H, W, C) float32 in [0, 1].
            labels: (N,) indices.
            parameters: of `smooth_grad` or `integrated_gradients`; `Plain` for `gradient`.
            seed: of SmoothGrad's noise.
        """
        match parameters:
            case SmoothGrad():
                return attribution.smooth_grad(self._gradient, x, labels, parameters, seed)
            case IntegratedGradients():
                return attribution.integrated_gradients(self._gradient, x, labels, parameters)
            case _:
                return attribution.gradient(self._gradient, x, labels)

    def _gradient(self, x: FloatArray, labels: Labels) -> FloatArray:
        gradient: FloatArray = self._traced.gradient(tf.constant(x), tf.constant(labels, tf.int32)).numpy()
        return gradient

    def _cams(self, x: FloatArray, labels: Labels) -> Mapping[str, FloatArray]:
        parts = [self._traced.cams(tf.constant(x[p]), tf.constant(labels[p], tf.int32)) for p in _parts(len(x))]
        plain, plus_plus = (np.concatenate([maps.numpy() for maps in kind]) for kind in zip(*parts, strict=True))
        return {ExplanationMethod.GRAD_CAM: plain, ExplanationMethod.GRAD_CAM_PLUS_PLUS: plus_plus}


def load_explainer(folder: Path) -> KerasExplainer:
    """Return an explainer of the model in `folder`, read and verified; each method is traced at its first call.

    Raises:
        ModelProblem: ManifestMismatch, BadChecksum or WrongShape; see `weights.load_weights`.
    """
    manifest = read_manifest(folder)
    weights = load_weights(folder, manifest)
    return build_explainer(manifest, weights.architecture, weights.arrays)


def build_explainer(
    manifest: ModelManifest, architecture: Architecture, arrays: Mapping[str, FloatArray]
) -> KerasExplainer:
    """Return an explainer of a folded table and its arrays.

    Raises:
        ManifestMismatch: the table cannot be cut at the manifest's target layer.
    """
    device = claim_device()
    trunk, head = build_halves(architecture, manifest.target_layer)
    set_arrays((trunk, head), architecture, arrays)
    return KerasExplainer(manifest, trace(trunk, head, manifest), device)


def trace(trunk: keras.Model, head: keras.Model, manifest: ModelManifest) -> Traced:
    """Return the graphs of a network in two halves; batches of any size share one graph."""
    films = tf.TensorSpec((None, *manifest.input_shape), tf.float32)
    labels = tf.TensorSpec((None,), tf.int32)

    def logits(x: tf.Tensor) -> tf.Tensor:
        return head(trunk(x, training=False), training=False)[:, : len(manifest.labels)]

    def cams(x: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = trunk(x, training=False)
        slope = saliency.gradient_of(lambda rows: _pick(head(rows, training=False), chosen), features)
        return saliency.grad_cam_map(features, slope), saliency.grad_cam_plus_plus_map(features, slope)

    def gradient(x: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        return saliency.gradient_of(lambda inputs: _pick(logits(inputs), chosen), x)

    return Traced(
        tf.function(logits, input_signature=[films], autograph=False),
        tf.function(cams, input_signature=[films, labels], autograph=False),
        tf.function(gradient, input_signature=[films, labels], autograph=False),
    )


def _pick(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return each film's logit of its label: (N, K) and (N,) to (N,)."""
    return tf.gather(logits, labels, axis=1, batch_dims=1)


def _parts(films: int) -> Iterator[slice]:
    """Return slices of at most `attribution.BATCH` films that cover a batch."""
    return (slice(start, start + attribution.BATCH) for start in range(0, films, attribution.BATCH))
