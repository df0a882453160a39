"""The page about the model: what it promises and was measured at, and how far readers agree with it."""

from __future__ import annotations

from flask import Blueprint, g, render_template
from sqlalchemy.orm import Session

from shared.db import model_queries, review_queries
from shared.db.model_queries import KnownModel
from shared.db.review_queries import Readings
from shared.wiring import Resources
from web import agreement
from web.offload import read

NOTHING = Readings({}, 0)


def add_routes(pages: Blueprint, resources: Resources) -> None:
    """To the blueprint of all pages."""

    @pages.get("/model")
    def model() -> str:
        tenant = g.principal.tenant
        found, readings = read(resources.database, lambda sql: get_model(sql, tenant))
        return render_template("model.html", model=found, readers=agreement.measure(readings))


def get_model(session: Session, tenant: str) -> tuple[KnownModel | None, Readings]:
    """The newest model, and what this tenant's readers said of its films."""
    found = model_queries.find_newest_model(session)
    if found is None:
        return None, NOTHING
    return found, review_queries.count_readings(session, tenant, found.weights_sha256)
