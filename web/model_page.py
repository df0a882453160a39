"""The model page: the manifest, the measured quality, and the agreement of readers with the model."""

from __future__ import annotations

from flask import Blueprint, g, render_template
from sqlalchemy.orm import Session

from shared.db import model_queries, review_queries
from shared.db.model_queries import KnownModel
from shared.db.review_queries import Readings
from shared.wiring import Resources
from web import agreement
from web.offload import read

NO_READINGS = Readings({}, 0)


def add_routes(pages: Blueprint, resources: Resources) -> None:
    """Add the route to the blueprint of all pages."""

    @pages.get("/model")
    def model() -> str:
        tenant = g.principal.tenant
        known_model, readings = read(resources.database, lambda sql: get_model(sql, tenant))
        return render_template("model.html", model=known_model, readers=agreement.measure(readings))


def get_model(session: Session, tenant: str) -> tuple[KnownModel | None, Readings]:
    """Return the newest model, None if there is none, and the readings of its films by this tenant's readers."""
    model = model_queries.find_newest_model(session)
    if model is None:
        return None, NO_READINGS
    return model, review_queries.count_readings(session, tenant, model.weights_sha256)
