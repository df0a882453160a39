"""The JSON of `/readyz` as a pydantic model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.wire import Wire


class Readiness(Wire):
    """What the service needs, part by part."""

    ready: bool
    database: str
    schema_version: str
    broker: str
    films: Literal["up", "down", "unknown"] = Field(
        default="unknown",
        description="down: the folder of this database's films is not there, so none is taken; unknown: the database, "
        "which knows, is not ready",
    )
    workers: int = Field(ge=0, description="workers that take films and polled the database within 15 seconds")
    golden: Literal["passed", "absent", "no_worker"] = Field(
        default="no_worker",
        description="whether the model of each of them gave its recorded answers at the start; absent: one has none",
    )
    model_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the weights that all of them have loaded; null where they differ or none lives",
    )
