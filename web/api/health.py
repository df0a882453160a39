"""`/livez`: this process serves. `/readyz`: what it needs is there; a missing broker only degrades."""

from __future__ import annotations

from flask import Blueprint, Response

from shared import wire
from shared.db import migrate, queries
from shared.errors import AppError
from shared.wiring import Resources
from web.offload import read, run_sql


def create_blueprint(resources: Resources) -> Blueprint:
    """The routes over `resources`."""
    health = Blueprint("health", __name__)

    @health.get("/livez")
    def livez() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @health.get("/readyz")
    def readyz() -> Response:
        state = readiness(resources)
        return Response(state.model_dump_json(), 200 if state.ready else 503, mimetype="application/json")

    return health


def readiness(resources: Resources) -> wire.Readiness:
    """Ready where the database answers at this build's schema; broker and workers are told beside it."""
    broker = "up" if resources.queue.is_up() else "down"
    database = resources.database
    try:
        revision = run_sql(database, lambda: migrate.current_revision(database))
        if revision != migrate.head_revision():  # its tables may not be those we would ask
            state = "wrong_schema" if revision else "not_migrated"
            return wire.Readiness(
                ready=False, database=state, schema_version=revision or "none", broker=broker, workers=0
            )
        workers = read(database, lambda sql: queries.count_live_workers(sql, database.now(sql)))
    except AppError as error:
        return wire.Readiness(ready=False, database=error.code, schema_version="unknown", broker=broker, workers=0)
    return wire.Readiness(ready=True, database="up", schema_version=revision, broker=broker, workers=workers)
