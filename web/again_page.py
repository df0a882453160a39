"""The film page's button "Classify again": a form that redirects to the new job's page and works without scripts."""

from __future__ import annotations

from flask import Blueprint, g, redirect, url_for
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from shared import wire
from shared.wiring import Resources
from web import again
from web.backpressure import Backpressure
from web.parsing import checked_id, parse_form


class AgainForm(BaseModel):
    """The button's form: an idempotency key of the page, so that a double click makes one job."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(pattern=wire.ID_PATTERN)


def create_blueprint(resources: Resources, admission: Backpressure) -> Blueprint:
    """Return the route over `resources`; `admission` limits the films that wait."""
    pages = Blueprint("again_page", __name__)

    @pages.post("/jobs/<job_id>/again")
    def classify_again(job_id: str) -> ResponseReturnValue:
        key = parse_form(AgainForm).key
        wish = again.Wish(checked_id(job_id), wire.AgainQuery().priority, key, g.request_id)
        receipt = again.classify_again(resources, admission, g.principal, wish)
        return redirect(url_for("pages.film", job_id=receipt.job_id), 303)

    return pages
