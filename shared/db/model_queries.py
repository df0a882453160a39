"""The read side of models that workers registered: the newest, and the manifest of each. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.engine import Sql
from shared.db.tables import Model
from shared.manifest import ModelManifest
from shared.model_report import ModelReport

LAST_MODELS: Final = 10
"""The number of models, from the newest, that are searched for one that this build can read."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A registered model: the SHA-256 of its weights, its manifest, and the report on it.

    `report` is None where the model came without one, or with one of another build's form.
    """

    weights_sha256: str
    manifest: ModelManifest
    report: ModelReport | None


def find_newest_model(session: Session) -> KnownModel | None:
    """Return the model registered last of those whose manifest this build can read; None where there is none.

    During a rolling upgrade one of a newer build may be there already.
    """
    rows = session.scalars(select(Model).order_by(Model.registered_at.desc()).limit(LAST_MODELS))
    for row in rows.all():
        manifest = _read_manifest(row.manifest)
        if manifest is not None:
            return KnownModel(row.weights_sha256, manifest, _read_report(row.report))
    return None


def find_manifest(sql: Sql, weights_sha256: str) -> ModelManifest | None:
    """Return the manifest of a registered model; None where it is unknown or of another build's form."""
    stored = sql.scalar(select(Model.manifest).where(Model.weights_sha256 == weights_sha256))
    return _read_manifest(stored)


def _read_manifest(stored: str | None) -> ModelManifest | None:
    try:
        return ModelManifest.model_validate_json(stored) if stored else None
    except ValidationError:
        return None


def _read_report(stored: str | None) -> ModelReport | None:
    try:
        return ModelReport.model_validate_json(stored) if stored else None
    except ValidationError:
        return None
