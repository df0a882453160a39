"""What counts as answered where the speed of many workers is measured: `tests/bench/many_workers.py`."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from shared.db.tables import Job
from shared.domain import JobState
from shared.wiring import Resources
from tests.bench.many_workers import answered
from tests.jobs import make_job


def end(resources: Resources, job_id: str, state: JobState) -> None:
    """Put a job into its end."""
    with resources.database.begin() as session:
        now = resources.database.now(session)
        session.execute(update(Job).where(Job.id == job_id).values(state=state, finished_at=now))


def test_only_what_succeeded_is_answered(resources: Resources) -> None:
    """A film that waits is none yet."""
    jobs = [make_job(resources.database) for _ in range(3)]
    for job_id in jobs[:2]:
        end(resources, job_id, JobState.SUCCEEDED)
    assert answered(resources.database) == 2


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.EXPIRED, JobState.CANCELLED])
def test_another_end_stops_the_measurement(resources: Resources, state: JobState) -> None:
    """Fifty failures are no fifty films a second."""
    end(resources, make_job(resources.database), state)
    with pytest.raises(RuntimeError, match=f"1 {state.value}"):
        answered(resources.database)
