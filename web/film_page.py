"""All that a film's page shows beside its job, read in one snapshot. Knows no Flask; called by `web/pages.py`."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from shared import wire
from shared.audit_wire import AuditTrail
from shared.db import deletions, explanation_queries, model_queries
from shared.db.engine import Clock
from shared.db.keys import Principal
from shared.domain import ExplanationMethod
from shared.manifest import ModelManifest
from web import again, audit_trail, review
from web.again import Outlook
from web.review import Opinions


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A film's saliency maps.

    Attributes:
        method: whose map is shown.
        shown: its explanation; None if it was not requested.
        made: all explanations of the film by method.
        explainers: how many living workers make explanations.
    """

    method: ExplanationMethod
    shown: wire.ExplanationDetail | None
    made: dict[ExplanationMethod, wire.ExplanationDetail]
    explainers: int


@dataclass(frozen=True, slots=True)
class FilmPage:
    """The parts of a film's page beside its job.

    Attributes:
        heatmap: None for a job without a result.
        manifest: of the model that answered; None before the answer.
        opinions: what readers said of the film; None for a job without a result.
        trail: first page of the audit trail; None for a caller that may not read it.
        outlook: other answers to the same film.
        may_delete: whether the caller may delete the job.
    """

    heatmap: Heatmap | None
    manifest: ModelManifest | None
    opinions: Opinions | None
    trail: AuditTrail | None
    outlook: Outlook
    may_delete: bool


def read_film_page(
    sql: Session, clock: Clock, who: Principal, job: wire.Job, method: ExplanationMethod | None
) -> FilmPage:
    """Read the page of a job that the caller may see.

    Args:
        sql: a reading transaction, so that all parts are of one snapshot.
        clock: the database's time.
        method: whose map is shown; None for the verdict's own.

    Raises:
        JobNotFound: the job was deleted after it was read (`JobDeleted`).
    """
    return FilmPage(
        heatmap=find_heatmap(sql, clock, who, job, method),
        manifest=model_queries.find_manifest(sql, job.model.sha256) if job.model else None,
        opinions=review.find_opinions(sql, who, job),
        trail=audit_trail.find_trail(sql, who, job),
        outlook=again.read_outlook(sql, clock, who, job),
        may_delete=deletions.may_delete(sql, who, job.id),
    )


def find_heatmap(
    sql: Session, clock: Clock, who: Principal, job: wire.Job, method: ExplanationMethod | None
) -> Heatmap | None:
    """Return the maps of a job with the one by `method`, or the verdict's own, as shown; None without a result.

    Raises:
        JobNotFound: the job was deleted after it was read (`JobDeleted`).
    """
    if job.result is None:
        return None
    chosen = method or ExplanationMethod(job.result.explanations[0].method)
    explanations = explanation_queries.list_explanations(sql, who.tenant, job.id).explanations
    made = {explanation.method: explanation for explanation in explanations}
    return Heatmap(chosen, made.get(chosen), made, explanation_queries.count_live_explainers(sql, clock(sql)))
