"""Maps that were changed behind the audit's back, on both databases: each is found, and named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from shared.db import audit_comparison, explanations
from shared.db.audit_comparison import Difference
from shared.db.engine import Database
from shared.db.leases import AttemptRecord
from shared.db.tables import Explanation, Job
from shared.domain import ExplanationMethod, ExplanationState
from tests.explanations import (
    QUALITY,
    explain,
    fail_explanation,
    make_explanation,
    make_map_record,
    make_result,
    new_explanation,
    take,
)

pytestmark = pytest.mark.integration

Deed = Callable[[Session, str], object]


@pytest.fixture
def explained(database: Database) -> str:
    """A job with maps in every state: one measured, one that failed, was asked for anew and waits, one being made."""
    job_id = make_result(database)
    make_explanation(database, job_id, method="gradient")
    explain(database)
    failed = make_explanation(database, job_id, method="smooth_grad")
    fail_explanation(database)
    with explanations.changing(database) as changes:
        changes.ask_again(failed, "another", 3, "request 2")
    fail_explanation(database, "blob_missing")
    make_explanation(database, job_id, method="grad_cam")
    order = take(database)
    assert order is not None
    with explanations.changing(database) as changes:
        changes.retry(order.held, "sweeper", "lease_expired", 0.0)
    assert take(database) is not None
    make_explanation(database, job_id, method="integrated_gradients")
    return job_id


def check(database: Database) -> tuple[int, Difference | None]:
    """As the command does."""
    with database.read() as session:
        return audit_comparison.compare(session)


def test_what_was_asked_for_agrees(database: Database, explained: str) -> None:
    """In whatever state it is; of several asks the first counts, of several tries the last."""
    assert check(database) == (1, None)
    with database.read() as session:
        assert audit_comparison.compare_one(session, session.get_one(Job, explained)) is None


def change(method: str, **values: object) -> Deed:
    """Other columns of a map."""
    return lambda session, job_id: session.execute(
        update(Explanation).where(Explanation.job_id == job_id, Explanation.method == method).values(**values)
    )


def lose(session: Session, job_id: str) -> object:
    """Take the map away."""
    return session.execute(delete(Explanation).where(Explanation.job_id == job_id, Explanation.method == "gradient"))


@pytest.mark.parametrize(
    ("deed", "problem"),
    [
        (change("gradient", values=b"another"), "its map by gradient: its bytes are not those that were stored"),
        (change("gradient", values=None), "its map by gradient: its bytes are gone"),
        (
            change("gradient", quality=QUALITY | {"deletion_auc": 0.1}),
            "its map by gradient: its deletion_auc is 0.1, the audit says 0.31",
        ),
        (
            change("gradient", quality=QUALITY | {"deletion": [0.9, 0.2]}),
            "its map by gradient: its deletion is [0.9, 0.2], the audit says [0.8, 0.2]",
        ),
        (change("gradient", quality=None), "its map by gradient: its agreement is None, the audit says 0.4"),
        (change("gradient", values_sha256="0" * 64), "its map by gradient: its values_sha256 is "),
        (
            change("gradient", device="cpu/other"),
            "its map by gradient: its device is 'cpu/other', the audit says 'cpu'",
        ),
        (
            change("gradient", state=ExplanationState.QUEUED, values_sha256=None),
            "its map by gradient: it is queued, the audit left it succeeded",
        ),
        (change("gradient", label="covid19"), "its map by gradient: its label is 'covid19', the audit says 'normal'"),
        (change("gradient", owner="other"), "its map by gradient: it is of default and key:other"),
        (
            change("smooth_grad", error_code="poisoned"),
            "its map by smooth_grad: its error_code is 'poisoned', the audit says 'blob_missing'",
        ),
        (
            change("grad_cam", state=ExplanationState.FAILED, lease_until=None),
            "its map by grad_cam: it is failed, the audit left it running",
        ),
        (lose, "its map by gradient: it has no row"),
    ],
)
def test_a_map_that_was_changed_behind_its_back_is_found(
    database: Database, explained: str, deed: Deed, problem: str
) -> None:
    """The job is named, and of it the map and what differs."""
    with database.begin() as session:
        deed(session, explained)
    _, found = check(database)
    assert found is not None
    assert found.job_id == explained
    assert found.problem.startswith(problem)


def test_a_map_that_nobody_asked_for_is_found(database: Database, explained: str) -> None:
    """Its row is there, and the chain knows nothing of it."""
    with database.begin() as session:
        sha256 = session.scalars(select(Explanation.model_sha256).where(Explanation.job_id == explained)).first()
    assert sha256 is not None
    new = new_explanation(explained, sha256, ExplanationMethod.GRAD_CAM_PLUS_PLUS)
    with database.begin() as session:
        explanations.ExplanationChanges(session, database.now(session)).insert_queued(new)
    assert check(database)[1] == Difference(explained, "its map by grad_cam_plus_plus: the audit does not know it")


def test_curves_that_an_older_build_did_not_record_are_passed_over(database: Database) -> None:
    """Its events had the other numbers alone; those are compared."""
    job_id = make_result(database)
    make_explanation(database, job_id)
    order = take(database)
    assert order is not None
    record = make_map_record()
    older = {name: value for name, value in QUALITY.items() if name not in {"deletion", "insertion"}}
    with explanations.changing(database) as changes:
        changes.finish(order.held, "w1", AttemptRecord(record.columns, {**record.audit_facts, "quality": older}))
    assert check(database) == (1, None)
