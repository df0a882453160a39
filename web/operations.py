"""The operations page for admins and auditors: queue, workers, recent job ends, broker and disk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, g, render_template
from sqlalchemy.orm import Session

from shared.db.gauges import Gauges, WorkerSeen, list_workers, read_gauges
from shared.version import CODE_VERSION
from shared.wiring import Resources
from web import security
from web.backpressure import Backpressure
from web.offload import read


@dataclass(frozen=True, slots=True)
class Operations:
    """The state of the service at `now`."""

    now: datetime
    gauges: Gauges
    workers: list[WorkerSeen]
    is_broker_up: bool
    free_bytes: int | None
    code_version: str = CODE_VERSION


def create_blueprint(resources: Resources, admission: Backpressure) -> Blueprint:
    """Return the routes of the page and of the part of it that is polled."""
    operations = Blueprint("operations", __name__)

    @operations.get("/operations")
    def show() -> str:
        security.check_operator(g.principal)
        return render_template("operations.html", found=read_operations(resources, admission))

    @operations.get("/operations/now")
    def show_now() -> str:
        security.check_operator(g.principal)
        return render_template("operations_now.html", found=read_operations(resources, admission), is_asked_again=True)

    return operations


def read_operations(resources: Resources, admission: Backpressure) -> Operations:
    """Return the state of the service; the database's part is one snapshot."""
    database = resources.database

    def query(sql: Session) -> tuple[datetime, Gauges, list[WorkerSeen]]:
        now = database.now(sql)
        return now, read_gauges(sql, now), list_workers(sql, now)

    now, gauges, workers = read(database, query)
    return Operations(now, gauges, workers, resources.queue.is_up(), admission.find_free_bytes())
