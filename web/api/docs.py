"""`/api/docs`: the OpenAPI document as a page, without third-party scripts."""

from __future__ import annotations

from flask import Blueprint, render_template

from shared.version import PACKAGE_VERSION
from web import present_api
from web.api import openapi


def create_blueprint() -> Blueprint:
    """Return the route; it needs no key, as the document needs none."""
    docs = Blueprint("docs", __name__)

    @docs.get("/api/docs")
    def read_api() -> str:
        document = openapi.build_document(PACKAGE_VERSION)
        return render_template(
            "api.html",
            document=document,
            operations=present_api.list_operations(document),
            shapes=present_api.list_shapes(document),
        )

    return docs
