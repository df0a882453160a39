"""The explainer port: the five methods by name, their parameters, and the interface for callers. No TensorFlow.

A map shows which pixels the score reacted to. It does not show where disease is, and it can be wrong about the
network too: `judge.py` computes for each map how far it can be trusted. Called by the worker and training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from shared.arrays import FloatArray
from shared.domain import ExplanationMethod
from shared.errors import InvalidRequest, WrongShape
from shared.manifest import ModelManifest

METHODS: Final = tuple(ExplanationMethod)
Labels = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Plain:
    """A method without parameters."""


@dataclass(frozen=True, slots=True)
class SmoothGrad:
    """Smilkov et al. 2017, arXiv 1706.03825: `samples` noisy copies; their Fig. 3 finds 10-20 % noise best.

    Attributes:
        samples: noisy copies a film, >= 1.
        noise: standard deviation as a share of the film's range (largest minus smallest value), >= 0.
    """

    samples: int = 25
    noise: float = 0.1

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.noise < np.inf:
            raise InvalidRequest("SmoothGrad takes one sample or more, and noise that is not negative.")


@dataclass(frozen=True, slots=True)
class IntegratedGradients:
    """Sundararajan et al. 2017, arXiv 1703.01365.

    Attributes:
        steps: intervals of the straight path from the baseline to the film, >= 1.
        baseline: the value of every pixel at the path's start, in [0, 1]; 0 is black.
    """

    steps: int = 32
    baseline: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.baseline <= 1:
            raise InvalidRequest("Integrated gradients take one step or more, and a baseline within 0 and 1.")


Parameters = Plain | SmoothGrad | IntegratedGradients

DEFAULTS: Final[Mapping[str, Parameters]] = MappingProxyType(
    {
        ExplanationMethod.GRAD_CAM: Plain(),
        ExplanationMethod.GRAD_CAM_PLUS_PLUS: Plain(),
        ExplanationMethod.SMOOTH_GRAD: SmoothGrad(),
        ExplanationMethod.INTEGRATED_GRADIENTS: IntegratedGradients(),
        ExplanationMethod.GRADIENT: Plain(),
    }
)


class Explainer(Protocol):
    """A loaded model that computes saliency maps."""

    @property
    def manifest(self) -> ModelManifest:
        """The manifest of the loaded weights."""

    @property
    def device(self) -> str:
        """Device and build that the model runs on; see `Engine.device`."""

    def scores(self, x: FloatArray) -> FloatArray:
        """Return calibrated probabilities (N, K) float32 over the labels, for x: (N, H, W, C) float32 in [0, 1]."""

    def explain(
        self,
        x: FloatArray,
        method: str,
        labels: Labels | None = None,
        seed: int = 0,
        parameters: Parameters | None = None,
    ) -> FloatArray:
        """Return the saliency of x: (N, H, W, C) float32 in [0, 1], the very tensor that is classified.

        Args:
            method: one of `METHODS`.
            labels: (N,) indices of the labels to explain; None: each film's most probable label.
            seed: of every random draw; the same seed gives the same maps, whatever else is in the batch.
            parameters: of the method; None: its entry in `DEFAULTS`.

        Returns:
            (N, h, w) float32 in [0, 1], each map's largest value 1, or all zero where the method attributes nothing.
            Grad-CAM and Grad-CAM++ have the target layer's size, the others the input's.

        Raises:
            InvalidRequest: there is no such method, or the parameters are of another one.
            WrongShape: x or labels do not fit the model.
        """


def parameters_for(method: str, given: Parameters | None = None) -> Parameters:
    """Return the parameters that a method runs with: `given`, else its defaults.

    Raises:
        InvalidRequest: there is no such method, or `given` are the parameters of another one.
    """
    if method not in METHODS:
        raise InvalidRequest(f"There is no method '{method}'; there are {', '.join(METHODS)}.")
    chosen = DEFAULTS[method] if given is None else given
    if type(chosen) is not type(DEFAULTS[method]):
        raise InvalidRequest(f"These are not the parameters of '{method}'.")
    return chosen


def check_labels(labels: Labels, films: int, manifest: ModelManifest) -> None:
    """Check that there is one label index for each film.

    Raises:
        WrongShape: `labels` is not (films,) of integers, or an index belongs to no label.
    """
    if labels.shape != (films,) or not np.issubdtype(labels.dtype, np.integer):
        raise WrongShape(f"{films} films take {films} label indices, not {labels.dtype} {labels.shape}.")
    if labels.min() < 0 or labels.max() >= len(manifest.labels):
        raise WrongShape(f"A label's index lies in 0 to {len(manifest.labels) - 1}.")
