"""The stand-in engine keeps the engine's port."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import WrongShape
from tests.chaos.standin import StandIn
from tests.fakes import make_manifest


def test_it_answers_by_the_film_alone() -> None:
    """The same film gets the same answer in any company; another film gets another."""
    engine = StandIn(make_manifest(), film_s=0.0)
    films = np.random.default_rng(1).random((3, 16, 16, 1), dtype=np.float32)
    together, alone = engine.infer(films), engine.infer(films[1:2])
    assert np.array_equal(together.probabilities[1], alone.probabilities[0])
    assert np.array_equal(together.saliency[1], alone.saliency[0])
    assert not np.array_equal(together.probabilities[0], together.probabilities[1])
    assert np.allclose(together.probabilities.sum(axis=1), 1.0)


def test_it_refuses_another_shape() -> None:
    """As the real one does."""
    with pytest.raises(WrongShape):
        StandIn(make_manifest(), film_s=0.0).infer(np.zeros((1, 8, 8, 1), np.float32))
