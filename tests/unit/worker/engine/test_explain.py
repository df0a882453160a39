"""The explainer's port: names, parameters, and what is refused."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from shared.errors import InvalidRequest, WrongShape
from tests.models import make_manifest
from worker.engine.base import check_input
from worker.engine.explain import (
    DEFAULTS,
    METHODS,
    IntegratedGradients,
    Parameters,
    Plain,
    SmoothGrad,
    check_labels,
    parameters_for,
)


def test_every_method_has_its_defaults() -> None:
    """Five methods, each with parameters; those of the papers."""
    assert set(DEFAULTS) == set(METHODS)
    assert len(METHODS) == 5
    assert parameters_for("smooth_grad") == SmoothGrad(samples=25, noise=0.1)
    assert parameters_for("integrated_gradients") == IntegratedGradients(steps=32, baseline=0)
    assert parameters_for("grad_cam") == parameters_for("gradient") == Plain()


def test_given_parameters_are_used() -> None:
    """What the caller names stands."""
    assert parameters_for("smooth_grad", SmoothGrad(3, 0.5)) == SmoothGrad(3, 0.5)


@pytest.mark.parametrize(
    ("method", "given"),
    [("lime", None), ("", None), ("smooth_grad", Plain()), ("grad_cam", SmoothGrad()), ("gradient", SmoothGrad())],
)
def test_what_no_method_takes_is_refused(method: str, given: Parameters | None) -> None:
    """An unknown name, or another method's parameters."""
    with pytest.raises(InvalidRequest):
        parameters_for(method, given)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (SmoothGrad, "samples", 0),
        (SmoothGrad, "noise", -0.1),
        (SmoothGrad, "noise", float("nan")),
        (IntegratedGradients, "steps", 0),
        (IntegratedGradients, "baseline", 1.1),
        (IntegratedGradients, "baseline", -0.1),
        (IntegratedGradients, "baseline", float("nan")),
    ],
)
def test_parameters_without_sense_are_refused(kind: type, field: str, value: float) -> None:
    """No samples, negative noise, no steps, a baseline that is no grey."""
    with pytest.raises(InvalidRequest):
        kind(**{field: value})


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((0, 64, 64, 1), np.float32),
        np.zeros((1, 64, 64, 1), np.float64),
        np.zeros((64, 64, 1), np.float32),
        np.zeros((1, 32, 64, 1), np.float32),
    ],
    ids=["none", "type", "no batch", "size"],
)
def test_input_of_another_shape_is_refused(x: np.ndarray) -> None:
    """The manifest says what the network takes."""
    with pytest.raises(WrongShape):
        check_input(x, make_manifest().input_shape)


@pytest.mark.parametrize("labels", [[0], [0, 3], [-1, 0], [0.0, 1.0], [[0, 1]]])
def test_labels_that_are_none_are_refused(labels: list) -> None:
    """One index of a label for each of two films, or nothing."""
    with pytest.raises(WrongShape):
        check_labels(np.array(labels), 2, make_manifest())
    check_labels(np.array([2, 0]), 2, make_manifest())


@pytest.mark.parametrize("module", ["explain", "attribution", "judge", "quality"])
def test_what_needs_no_tensorflow_loads_none(python: str, module: str) -> None:
    """A process that imports the port or the judge pays for numpy only."""
    program = f"import sys, worker.engine.{module}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
