"""`/livez`: this process answers. `/readyz`: database and films are available; the rest is reported beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from flask import Blueprint, Response
from sqlalchemy.orm import Session

from shared.db import answers, schema, worker_queries
from shared.errors import AppError, StorageDown
from shared.greenlets import SingleFlight
from shared.health_wire import Readiness
from shared.wiring import Resources
from web.offload import read, run_sql

Golden = Literal["passed", "absent", "no_worker"]

FILMS_S: Final = 3.0
"""Timeout of the folder's check; after it the folder counts as down."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The living workers: their number, whether all their models passed the golden test, and the model of all."""

    workers: int
    golden: Golden
    model_sha256: str | None


def create_blueprint(resources: Resources) -> Blueprint:
    """Return the routes over `resources`."""
    health = Blueprint("health", __name__)
    films = SingleFlight(resources.blobs.check, FILMS_S)

    @health.get("/livez")
    def livez() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @health.get("/readyz")
    def readyz() -> Response:
        state = readiness(resources, films)
        return Response(state.model_dump_json(), 200 if state.ready else 503, mimetype="application/json")

    return health


def readiness(resources: Resources, films_check: SingleFlight[None]) -> Readiness:
    """Return the readiness: true if the database has this build's schema and the films' folder answers.

    Broker and workers are reported beside it, since films are accepted without them.
    """
    broker = "up" if resources.queue.is_up() else "down"
    database = resources.database
    try:
        revision = run_sql(database, lambda: schema.current_revision(database))
        if revision != schema.HEAD:  # its tables may not be those of our queries
            state = "wrong_schema" if revision else "not_migrated"
            return Readiness(ready=False, database=state, schema_version=revision or "none", broker=broker, workers=0)
        crew = read(database, lambda sql: _read_crew(sql, database.now(sql)))
    except AppError as error:
        return Readiness(ready=False, database=error.code, schema_version="unknown", broker=broker, workers=0)
    films = _films(films_check)
    return Readiness(
        ready=films == "up",
        database="up",
        schema_version=revision,
        broker=broker,
        films=films,
        workers=crew.workers,
        golden=crew.golden,
        model_sha256=crew.model_sha256,
    )


def _films(check: SingleFlight[None]) -> Literal["up", "down"]:
    """Return whether films can be stored and read; a volume that hangs counts as down."""
    try:
        check.ask()
    except (StorageDown, TimeoutError):
        return "down"
    return "up"


def _read_crew(sql: Session, now: datetime) -> Crew:
    states = worker_queries.golden_states(sql, now)
    golden: Golden = "no_worker" if not states else "passed" if states == {"passed"} else "absent"
    serving = answers.find_serving(sql, now)
    return Crew(worker_queries.count_live_workers(sql, now), golden, serving.sha256 if serving else None)
