"""The read side of reviews: those of jobs, counts of agreement, and jobs without a review. Changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, select

from shared import wire
from shared.db.engine import Sql
from shared.db.tables import Job, Result, Review
from shared.domain import ABSTENTIONS, ReaderLabel, Verdict, agrees


@dataclass(frozen=True, slots=True)
class Readings:
    """Counts of the reviews of one model's answers.

    Attributes:
        counts: current reviews by (verdict, label); pairs without a review are left out.
        films: reviewed films whose verdict is no abstention; a film with two reviews counts once.
    """

    counts: Mapping[tuple[Verdict, ReaderLabel], int]
    films: int


def find_reviews(sql: Sql, job_ids: Collection[str]) -> dict[str, list[wire.Review]]:
    """Return the reviews of these jobs by job, in one statement. The caller has checked that they are of its tenant."""
    reviews: dict[str, list[wire.Review]] = defaultdict(list)
    for row in sql.execute(_OF_JOBS, {"job_ids": list(job_ids)}):
        reviews[row.job_id].append(to_wire(row))
    return reviews


def count_readings(sql: Sql, tenant: str, model_sha256: str) -> Readings:
    """Count a tenant's reviews of one model, in one statement that reads an index alone."""
    counts: dict[tuple[Verdict, ReaderLabel], int] = {}
    films = 0
    for verdict, label, number, seen in sql.execute(_READINGS, {"tenant": tenant, "model_sha256": model_sha256}):
        counts[Verdict(verdict), ReaderLabel(label)] = number
        films = seen
    return Readings(counts, films)


def to_wire(row: Row[*tuple[Any, ...]]) -> wire.Review:  # Any: of `COLUMNS`, each of its own type
    """Return the review of a row of `COLUMNS`."""
    verdict, label = Verdict(row.verdict), ReaderLabel(row.label)
    return wire.Review(
        label=label,
        agrees=agrees(verdict, label),
        verdict=verdict,
        reader=row.reader,
        model_sha256=row.model_sha256,
        result_sha256=row.result_sha256,
        created_at=row.created_at,
    )


COLUMNS: Final = (
    Review.job_id, Review.reader, Review.label, Review.verdict, Review.model_sha256, Review.result_sha256,
    Review.created_at,
)  # fmt: skip

_OF_JOBS = (
    select(*COLUMNS)
    .where(Review.job_id.in_(bindparam("job_ids", expanding=True)))
    .order_by(Review.created_at, Review.reader)
)

_IS_OF_MODEL = (Review.tenant == bindparam("tenant")) & (Review.model_sha256 == bindparam("model_sha256"))

_FILMS = (
    select(func.count(Review.job_id.distinct()))
    .where(_IS_OF_MODEL, Review.verdict.not_in(sorted(ABSTENTIONS)))
    .scalar_subquery()
)

_READINGS = (
    select(Review.verdict, Review.label, func.count(), _FILMS)
    .where(_IS_OF_MODEL)
    .group_by(Review.verdict, Review.label)
)

UNREVIEWED: Final = (
    Result.job_id.is_not(None),
    ~select(Review.job_id).where(Review.job_id == Job.id).correlate(Job).exists(),
)
"""Conditions on jobs joined with their results: answered, and without a review.

Reviewed jobs are skipped one by one: people review thousands of films, not millions (DECISIONS 60).
"""
