"""Times as the options of commands take them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.moments import read_moment


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-29", "2026-11-29T00:00", "2026-11-29 00:00:00", "2026-11-29T00:00:00Z", "2026-11-29T00:00:00+00:00",
        "2026-11-29T01:00+01:00", "2026-11-28T19:00:00-05:00",
    ],
)  # fmt: skip
def test_one_moment_is_written_in_many_ways(text: str) -> None:
    """Without a zone it is in UTC, with one it is what it says."""
    assert read_moment(text) == datetime(2026, 11, 29, tzinfo=UTC)
