"""Explanations have the same names everywhere: the engine's, the API's, the database's and the page's."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

from shared import wire
from shared.domain import PIXEL_METHODS, ExplanationMethod
from web import present_maps
from worker.engine import judge
from worker.engine.explain import DEFAULTS, METHODS, IntegratedGradients, Plain, SmoothGrad, parameters_for
from worker.engine.quality import Degenerate


def test_every_method_has_its_words_on_the_page() -> None:
    """A name and a sentence, of which the first word says what the map is made of."""
    assert set(present_maps.METHODS) == set(ExplanationMethod)
    about_pixels = {method for method in ExplanationMethod if present_maps.describe_method(method).startswith("Pixels")}
    assert about_pixels == PIXEL_METHODS


def test_maps_of_pixels_are_those_with_parameters_and_the_gradient() -> None:
    """The methods on features are Grad-CAM and its sister alone."""
    assert {method for method in METHODS if not method.startswith("grad_cam")} == PIXEL_METHODS
    assert set(DEFAULTS) == set(METHODS)
    kinds = {type(parameters_for(method)) for method in PIXEL_METHODS}
    assert kinds == {Plain, SmoothGrad, IntegratedGradients}


def test_what_the_api_answers_is_measured() -> None:
    """Each number of the answer is one that the judge writes."""
    written = {field.name for field in fields(judge.MapQuality)}
    assert set(wire.MapQuality.model_fields) < written
    assert {"border_share", "is_degenerate", "degenerate_reason"} < written


def test_every_way_to_say_nothing_has_a_sentence() -> None:
    """No code reaches the page."""
    assert set(present_maps.DEGENERATE) == set(get_args(Degenerate))
