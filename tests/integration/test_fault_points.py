"""A process is killed at each named point of a film's way, on both databases: it is still answered once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.domain import JobState
from shared.faults import Fault
from tests.rig import Rig, running
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CLAIMED_IN_VAIN = {
    Fault.CLAIM_COMMITTED, Fault.FILM_LOADED, Fault.FILM_INFERRED, Fault.RESULT_WRITTEN, Fault.LEASE_GIVEN_BACK,
}  # fmt: skip
"""The film was claimed and not answered: it takes a second attempt."""

STORED_IN_VAIN = {Fault.BLOB_WRITTEN, Fault.BLOB_STORED, Fault.JOB_INSERTED}
"""The film was stored and has no row: it is an orphan, and the client's second try stores it again."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """One running service a database; what dies is started again."""
    with running(request.param) as made:
        yield made


@pytest.mark.parametrize("point", list(Fault))
def test_a_kill_at_this_point_costs_no_film_and_doubles_none(rig: Rig, point: Fault) -> None:
    """The client sends again with its key; there is one row, one result, one end, and somebody did die there."""
    before = films(rig)
    key = f"{rig.options.database} {point}"
    points = [Fault.CLAIM_COMMITTED, point] if point is Fault.LEASE_GIVEN_BACK else [point]  # a lease of one that died
    rig.ask_for(*points)
    job = rig.done(rig.submit(key).id)
    died: set[int] = set()

    def have_died() -> bool:
        died.update(rig.victims())
        return len(died) == len(points)

    wait_until(have_died, f"a process to die at {point}")
    assert job.status is JobState.SUCCEEDED
    assert job.attempt >= (2 if point in CLAIMED_IN_VAIN else 1)  # one more where a worker stalls for its lease
    assert rig.submit(key).id == job.id
    rig.assert_once(job.id, key)
    assert films(rig) - before == (2 if point in STORED_IN_VAIN else 1)


def films(rig: Rig) -> int:
    """Stored films, orphans that wait for the sweeper included."""
    return sum(path.is_file() for path in (rig.home / "films").rglob("*"))
