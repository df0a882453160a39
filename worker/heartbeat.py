"""The rows that a worker writes about itself: its model and its heartbeat. Called by `boot` and `runtime`."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.dialects import postgresql, sqlite

from shared.db import tables, worker_queries
from shared.db.engine import Database
from shared.manifest import ModelManifest
from shared.model_report import ModelReport
from worker.engine.golden import GoldenState
from worker.serving import Serving
from worker.stages import Kitchen


def register_model(database: Database, manifest: ModelManifest, report: ModelReport | None = None) -> None:
    """Upsert the model and set registered_at to now.

    It then counts as the newest model, even if another was registered meanwhile.

    Args:
        report: the measurements of the model; None keeps those that are stored.
    """
    insert = sqlite.insert if database.is_sqlite else postgresql.insert
    with database.begin() as session:
        row = {
            "weights_sha256": manifest.weights_sha256,
            "name": manifest.name,
            "version": manifest.version,
            "manifest": manifest.model_dump_json(),
            "report": report.model_dump_json() if report else None,
            "registered_at": database.now(session),
        }
        statement = insert(tables.Model).values(row)
        key = [tables.Model.weights_sha256]
        changes = {name: row[name] for name in ("manifest", "registered_at", *(["report"] if report else []))}
        session.execute(statement.on_conflict_do_update(index_elements=key, set_=changes))


def beat(kitchen: Kitchen, serving: Serving, golden: GoldenState = GoldenState.ABSENT) -> None:
    """Write the heartbeat of this worker, with the result of its golden films; delete those of workers long silent."""
    database = kitchen.resources.database
    with database.begin() as session:
        now = database.now(session)
        row = session.get(tables.WorkerHeartbeat, kitchen.who.worker)
        if row is None:
            row = tables.WorkerHeartbeat(worker=kitchen.who.worker, started_at=now)
            session.add(row)
        row.queues = ",".join(serving.queues)
        row.model_sha256, row.device = kitchen.engine.manifest.weights_sha256, kitchen.engine.device
        row.golden, row.polled_at = golden.value, now
        silent = tables.WorkerHeartbeat.polled_at < now - worker_queries.FORGET_AFTER
        session.execute(delete(tables.WorkerHeartbeat).where(silent))


def retire(database: Database, worker: str) -> None:
    """Delete the heartbeat of this worker, which shuts down in order."""
    with database.begin() as session:
        session.execute(delete(tables.WorkerHeartbeat).where(tables.WorkerHeartbeat.worker == worker))
