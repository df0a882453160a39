"""The use case "review": a reader says what it sees in a film that was answered. Knows no Flask."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from shared import wire
from shared.db import jobs, review_queries, reviews
from shared.db.keys import Principal
from shared.domain import BESIDE_LABELS, ReaderLabel
from shared.wiring import Resources
from web.offload import read, read_row, run_sql

ByJob = dict[str, list[wire.Review]]
"""The reviews of jobs that have any."""


@dataclass(frozen=True, slots=True)
class Opinions:
    """What readers say of one film, as one caller is shown it.

    Attributes:
        own: what the caller said; None where it said nothing, or may not.
        all: of all readers, the caller's own among them.
        choices: what the caller may say; none where it may not.
    """

    own: wire.Review | None
    all: Sequence[wire.Review]
    choices: Sequence[ReaderLabel]


def review(resources: Resources, who: Principal, job_id: str, label: ReaderLabel) -> wire.Review:
    """Keep what this reader sees; raises as `shared.db.reviews.review` does."""

    def change() -> wire.Review:
        with jobs.changing(resources.database) as changes:
            return reviews.review(changes, who, job_id, label)

    return run_sql(resources.database, change)


def get_all(resources: Resources, who: Principal, job_id: str) -> wire.ReviewList:
    """The reviews of a job that stand.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
    """
    return read(resources.database, lambda sql: reviews.list_reviews(sql, who.tenant, job_id))


def find_opinions(resources: Resources, who: Principal, job: wire.Job) -> Opinions | None:
    """Those of a job that the caller has read already; None without a result."""
    if job.result is None:
        return None
    found = read_row(resources.database, lambda sql: review_queries.find_reviews(sql, [job.id])).get(job.id, [])
    beside = [label for label in ReaderLabel if label in BESIDE_LABELS]
    known = [label for label in ReaderLabel if label in job.result.probabilities]
    choices = [*known, *beside] if reviews.may_review(who) else []
    return Opinions(next((each for each in found if each.reader == who.key_id), None), found, choices)


def of_rows(session: Session, shown: Collection[wire.Job]) -> ByJob:
    """Those of a list's rows, in one statement, or in none where no row has a result."""
    answered = [job.id for job in shown if job.result]
    return review_queries.find_reviews(session, answered) if answered else {}
