"""The use case "review": a reader gives an answered film a label. Knows no Flask."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from shared import wire
from shared.db import jobs, review_queries, reviews
from shared.db.engine import Sql
from shared.db.keys import Principal
from shared.domain import BESIDE_LABELS, ReaderLabel, Role
from shared.wiring import Resources
from web.offload import read, run_sql

ByJob = dict[str, list[wire.Review]]
"""Job id to the job's reviews; jobs without any are left out."""


@dataclass(frozen=True, slots=True)
class Opinions:
    """The reviews of one film, as one caller sees them.

    Attributes:
        own: the caller's review, if any.
        all: the reviews of all readers, the caller's among them.
        choices: labels that the caller may give; empty if it may not review.
        is_reader: the caller's key is a reviewer's: reading films is what it is for.
    """

    own: wire.Review | None
    all: Sequence[wire.Review]
    choices: Sequence[ReaderLabel]
    is_reader: bool

    @property
    def is_asked(self) -> bool:
        """Whether the caller may still give a first reading: the history then hides what others said."""
        return bool(self.choices) and self.own is None

    @property
    def hides_map(self) -> bool:
        """Whether the heatmap is off until the caller asks for it: a reader's first reading is of the film alone."""
        return self.is_asked and self.is_reader


def review(resources: Resources, who: Principal, job_id: str, label: ReaderLabel) -> wire.Review:
    """Store the caller's review of a film; raises as `shared.db.reviews.review` does."""

    def change() -> wire.Review:
        with jobs.changing(resources.database) as changes:
            return reviews.review(changes, who, job_id, label)

    return run_sql(resources.database, change)


def get_all(resources: Resources, who: Principal, job_id: str) -> wire.ReviewList:
    """Return the current reviews of a job, one per reader.

    Raises:
        JobNotFound: unknown, of another tenant, or deleted (`JobDeleted`).
    """
    return read(resources.database, lambda sql: reviews.list_reviews(sql, who.tenant, job_id))


def find_opinions(sql: Sql, who: Principal, job: wire.Job) -> Opinions | None:
    """Return the opinions on a job that the caller has read; None for a job without a result."""
    if job.result is None:
        return None
    all_reviews = review_queries.find_reviews(sql, [job.id]).get(job.id, [])
    own = next((each for each in all_reviews if each.reader == who.key_id), None)
    model_labels = [label for label in ReaderLabel if label in job.result.probabilities]
    other_labels = [label for label in ReaderLabel if label in BESIDE_LABELS]
    choices = [*model_labels, *other_labels] if reviews.may_review(who) else []
    return Opinions(own, all_reviews, choices, who.role == Role.REVIEWER)


def of_rows(session: Session, shown: Collection[wire.Job]) -> ByJob:
    """Return the reviews of listed jobs, in one statement; in none if no job has a result."""
    answered = [job.id for job in shown if job.result]
    return review_queries.find_reviews(session, answered) if answered else {}
