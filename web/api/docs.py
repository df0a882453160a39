"""`/api/docs`: the OpenAPI document as a page to read, from nobody else's scripts."""

from __future__ import annotations

from flask import Blueprint, render_template

from shared.version import PACKAGE_VERSION
from web import present_api
from web.api import openapi


def create_blueprint() -> Blueprint:
    """The route; it is open, as the document is."""
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
