"""What a key of each role may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.db.keys import Principal
from shared.domain import Role
from shared.rights import RIGHTS, Right, has_right

GUIDE = Path(__file__).parents[3] / "docs" / "OPERATING.md"


def table() -> dict[tuple[str, str], bool]:
    """What the guide for operators says: by role and right."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in GUIDE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and line.count("|") == len(Role) + 2
    ]
    (_, *roles), *rows = lines
    return {(role, right): cell == "yes" for right, *cells in rows for role, cell in zip(roles, cells, strict=True)}


def test_the_guide_tells_all_of_it() -> None:
    """Each right of each role, as it is."""
    assert table() == {(role.value, right.value): has_right(role, right) for role in Role for right in Right}


def test_every_role_has_a_row() -> None:
    """One that is added has to be given its rights."""
    assert set(RIGHTS) == set(Role)


@pytest.mark.parametrize("right", Right)
def test_an_unknown_role_may_only_look(right: Right) -> None:
    """A newer build's keys, read by an older one."""
    assert not Principal("key", "default", "wizard").may(right)
