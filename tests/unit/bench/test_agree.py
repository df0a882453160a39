"""Unequal work is not compared: `tests/bench/agree.py`."""

from __future__ import annotations

import pytest

from tests.bench import agree
from tests.bench.agree import Unequal

REFERENCE = [{"normal": 0.7, "covid19": 0.3}, {"normal": 0.1, "covid19": 0.9}]


def test_equal_probabilities_pass() -> None:
    """A difference within the tolerance is told."""
    near = [{"normal": 0.7, "covid19": 0.3}, {"normal": 0.1005, "covid19": 0.8995}]
    assert agree.check(REFERENCE, "peer", near) == pytest.approx(0.0005)


@pytest.mark.parametrize(
    "answers",
    [
        [{"normal": 0.6, "covid19": 0.4}, {"normal": 0.1, "covid19": 0.9}],
        [{"normal": 0.7, "other": 0.3}, {"normal": 0.1, "covid19": 0.9}],
        [{"normal": float("nan"), "covid19": 0.3}, {"normal": 0.1, "covid19": 0.9}],
        [{"normal": 0.7, "covid19": 0.3}, {"normal": 0.1, "covid19": float("nan")}],
        REFERENCE[:1],
        list(reversed(REFERENCE)),
        [],
    ],
    ids=[
        "other numbers",
        "other labels",
        "no number",
        "no number behind others",
        "one film less",
        "films mixed up",
        "no film",
    ],
)
def test_unequal_probabilities_are_refused(answers: list[dict[str, float]]) -> None:
    """The design is named and nothing is measured."""
    with pytest.raises(Unequal, match="'peer'"):
        agree.check(REFERENCE, "peer", answers)
