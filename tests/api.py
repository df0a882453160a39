"""The web application as its callers see it: a test client with a key, or with a browser's session."""

from __future__ import annotations

import io
import re
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from shared.db import keys
from shared.db.engine import Database
from shared.db.tables import Job
from shared.domain import DEFAULT_TENANT
from shared.wiring import Resources
from tests.factories import make_png
from tests.fakes import MemoryBlobs
from web.app import create_app


def make_key(database: Database, *, tenant: str = DEFAULT_TENANT, role: str = "admin") -> str:
    """An API key."""
    with database.begin() as session:
        return keys.make_key(session, tenant, role, database.now(session))


def make_tenant(database: Database, name: str) -> None:
    """Another tenant, with its own audit chain."""
    with database.begin() as session:
        keys.make_tenant(session, name, database.now(session))


class WholeAnswers(FlaskClient):
    """A test client that reads every answer to its end, so that no static file stays open."""

    def open(self, *arguments: Any, buffered: bool = True, **rest: Any) -> TestResponse:
        """One request; Any: Werkzeug's own arguments."""
        return super().open(*arguments, buffered=buffered, **rest)


class Api:
    """One application over `resources`, and a caller of it.

    Args:
        key: what the caller sends; None for a caller without one.
    """

    def __init__(self, resources: Resources, key: str | None) -> None:
        self.resources = resources
        self.key = key
        self.app = create_app(resources)
        self.app.test_client_class = WholeAnswers
        self.client: FlaskClient = self.app.test_client()

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **rest: Any) -> TestResponse:
        """One request with the key; Any: Werkzeug's own arguments."""
        own = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return self.client.open(path, method=method, headers=own | (headers or {}), **rest)

    def get(self, path: str, headers: dict[str, str] | None = None, **rest: Any) -> TestResponse:
        """GET."""
        return self.request("GET", path, headers, **rest)

    def submit(self, data: bytes | None = None, headers: dict[str, str] | None = None, query: str = "") -> TestResponse:
        """A film as the raw body."""
        kind = {"Content-Type": "image/png"}
        body = make_png() if data is None else data
        return self.request("POST", f"/api/v1/jobs{query}", kind | (headers or {}), data=body)

    def submit_form(self, *parts: tuple[str, bytes], headers: dict[str, str] | None = None) -> TestResponse:
        """A multipart form of file parts (name, content)."""
        form: dict[str, list[tuple[io.BytesIO, str]]] = {}
        for name, content in parts:
            form.setdefault(name, []).append((io.BytesIO(content), "film.png"))
        return self.request("POST", "/api/v1/jobs", headers, data=form, content_type="multipart/form-data")

    def make_link(self) -> str:
        """The address of a one-time link for the key."""
        database = self.resources.database
        with database.begin() as session:
            token = keys.make_link(session, keys.get_principal(session, self.key or "").key_id, database.now(session))
        return f"/enter/{token}"

    def browse(self, **rest: Any) -> Browser:
        """Open a one-time link, as a browser: no key from here on."""
        link = self.make_link()
        browser = Browser(self, rest)
        response = browser.request("GET", link)
        assert response.status_code == 303, response.text
        return browser


class Browser:
    """A session; `rest` goes into every request (e.g. a base URL of https)."""

    def __init__(self, api: Api, rest: dict[str, Any]) -> None:
        self.client: FlaskClient = api.app.test_client()
        self.rest = rest

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **rest: Any) -> TestResponse:
        """One request with the session's cookie."""
        return self.client.open(path, method=method, headers=headers or {}, **self.rest, **rest)

    def csrf_token(self) -> str:
        """What the page gives its scripts."""
        page = self.request("GET", "/").text
        found = re.search(r'<meta name="csrf-token" content="([^"]+)">', page)
        assert found is not None, page
        return found[1]


def stored(resources: Resources) -> tuple[int, int]:
    """(blobs, job rows): both zero after a refusal."""
    assert isinstance(resources.blobs, MemoryBlobs)
    with resources.database.read() as session:
        return len(resources.blobs.data), session.scalar(select(func.count()).select_from(Job)) or 0
