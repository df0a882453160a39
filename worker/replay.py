"""The use case "replay": does this machine still say of a stored film what its record says? Changes nothing.

The record is the job's rows, held against its audit events first. The film, the model by its SHA-256 and the engine are
those that a worker here would work with; nothing is claimed, and no broker or other part of the service is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db import audit_comparison
from shared.db.engine import Database, open_database
from shared.db.film_folder import FilmFolder
from shared.db.queries import missing
from shared.db.tables import AuditEvent, DeletedJob, Job, Model, Result
from shared.domain import Assessment
from shared.errors import AppError, BlobMissing, Conflict, ModelReplaced, explain
from shared.imaging import stored
from shared.log import set_up_logging
from shared.manifest import read_manifest
from shared.ports import BlobStore
from shared.settings import Settings
from shared.storage.local import LocalBlobs
from shared.verdict import assess
from shared.version import CODE_VERSION
from worker.engine.base import Engine, look
from worker.engine.golden import SAME_TOLERANCE, Golden, build_name, is_alike, read_golden
from worker.engine.weights import load_weights
from worker.load import load_engine
from worker.serving import model_folder

SAME, OTHER, NOT_TRIED = 0, 1, 2
"""Exit statuses."""

OTHER_FINDING: Final = "other finding"
"""What its probability is called; records of builds before schema 0011 lack it, and say nothing against it."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is on record of one answer, and of what it was made with.

    Attributes:
        numbers: calibrated probabilities by label, and of an other finding where the model knows one.
        build: the processor that computed it; None where the event does not say.
    """

    job_id: str
    pixels_sha256: str
    blob_ref: str
    model_sha256: str
    model: str
    verdict: str
    numbers: Mapping[str, float]
    prediction_set: Sequence[str]
    reasons: Sequence[str]
    device: str
    build: str | None
    code_version: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """Record and answer side by side.

    Attributes:
        difference: the largest of any number.
        tolerance: how large it may be here.
        is_alike: device and processor are those on record.
    """

    record: Record
    found: Record
    difference: float
    tolerance: float
    is_alike: bool

    @property
    def is_same(self) -> bool:
        """The same verdict, by numbers that are near enough; none that is no number is."""
        return self.found.verdict == self.record.verdict and self.difference <= self.tolerance


def run(settings: Settings, job_id: str, echo: Callable[[str], object]) -> int:
    """Replay, say what came of it, and return the exit status.

    Returns:
        0 the same, 1 not the same, or row or film are not as recorded, 2 it could not be tried.
    """
    set_up_logging("WARNING", "replay")
    try:
        with open_database(settings) as database:
            change = find_change(database, job_id)
            if change:
                echo(f"job {job_id} is not as the audit chain says: {change}")
                return OTHER
            record = read_record(database, job_id)
            engine, golden = load(settings, record)
            films = FilmFolder(settings.blobs, database)
            films.open_to_look()
            replayed = replay(LocalBlobs(settings.blobs, films.check), engine, golden, record)
    except BlobMissing as error:
        echo(explain(error))
        return OTHER
    except AppError as error:
        echo(f"not replayed: {explain(error)}")
        return NOT_TRIED
    for line in tell(replayed):
        echo(line)
    return SAME if replayed.is_same else OTHER


def find_change(database: Database, job_id: str) -> str | None:
    """What of the job's rows is otherwise than its audit events say, if anything; None where there is no such job."""
    with database.read() as session:
        job = session.get(Job, job_id)
        return audit_comparison.compare_one(session, job) if job else None


def read_record(database: Database, job_id: str) -> Record:
    """What is on record of a job's answer.

    Raises:
        JobNotFound: no such job, or it was deleted (`JobDeleted`), film and result with it.
        Conflict: it has no answer.
    """
    with database.read() as session:
        job = session.get(Job, job_id)
        if job is None:
            gone = session.get(DeletedJob, job_id)
            raise missing(session, gone.tenant if gone else "", job_id)
        result = session.get(Result, job_id)
        if result is None:
            raise Conflict(f"The job is {job.state} and has no answer that could be replayed.")
        model = session.get_one(Model, result.model_sha256)
        other = {} if result.other_probability is None else {OTHER_FINDING: result.other_probability}
        return Record(
            job_id=job.id,
            pixels_sha256=job.pixels_sha256,
            blob_ref=job.blob_ref,
            model_sha256=result.model_sha256,
            model=f"{model.name} {model.version}",
            verdict=result.verdict,
            numbers={**result.probabilities, **other},
            prediction_set=result.prediction_set,
            reasons=result.reasons,
            device=result.device,
            build=_find_build(session, job.id),
            code_version=result.code_version,
        )


def load(settings: Settings, record: Record) -> tuple[Engine, Golden | None]:
    """The engine that a worker here serves with, and its golden set.

    Raises:
        ModelReplaced: another model gave the answer.
        ModelProblem: the model here cannot be used.
    """
    folder = model_folder(settings)
    manifest = read_manifest(folder)
    if manifest.weights_sha256 != record.model_sha256:
        raise ModelReplaced(
            f"The answer is of model {record.model} (weights {record.model_sha256}); the one here is {manifest.name} "
            f"{manifest.version} ({manifest.weights_sha256}). Set PLAINFILM_MODEL_DIR to the folder of the former."
        )
    golden = read_golden(folder)
    engine, _ = load_engine(settings, manifest, load_weights(folder, manifest), golden)
    return engine, golden


def replay(blobs: BlobStore, engine: Engine, golden: Golden | None, record: Record) -> Replayed:
    """Compute the answer anew and compare.

    Raises:
        BlobMissing: the film is gone, or is not the one that was accepted.
    """
    pixels = stored.from_bytes(blobs.get(record.blob_ref))
    if stored.digests(pixels)[0] != record.pixels_sha256:
        raise BlobMissing("The stored film is not the one that was accepted: its pixels have another SHA-256.")
    (evidence,) = look(engine, [pixels])
    found = _as_record(record, engine, assess(evidence, engine.manifest))
    alike = record.build is not None and is_alike(engine, record.device, record.build)
    tolerance = SAME_TOLERANCE if alike or golden is None else golden.tolerance
    return Replayed(record, found, difference(record.numbers, found.numbers), tolerance, alike)


def tell(replayed: Replayed) -> Iterator[str]:
    """Record and answer as a table, and what is concluded."""
    record, found = replayed.record, replayed.found
    yield f"job {record.job_id}, model {record.model}, film and record as they were accepted"
    rows = [("", "recorded", "now"), ("verdict", record.verdict, found.verdict)]
    names = {**record.numbers, **found.numbers}
    rows += [(name, _show(record.numbers, name, "not recorded"), _show(found.numbers, name, "-")) for name in names]
    rows += [
        ("set", " ".join(record.prediction_set) or "-", " ".join(found.prediction_set) or "-"),
        ("reasons", " ".join(record.reasons) or "-", " ".join(found.reasons) or "-"),
        ("device", record.device, found.device),
        ("processor", record.build or "not recorded", found.build or ""),
        ("code", record.code_version, found.code_version),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    yield from (f"{name:{widths[0]}}  {then:{widths[1]}}  {now}".rstrip() for name, then, now in rows)
    where = "device and processor are those of then" if replayed.is_alike else "for another device or processor"
    yield f"largest difference {replayed.difference:.2g}, {replayed.tolerance:.2g} may be: {where}"
    yield "the same answer" if replayed.is_same else "NOT the same answer"


def _show(numbers: Mapping[str, float], name: str, absent: str) -> str:
    return f"{numbers[name]:.7f}" if name in numbers else absent


def _find_build(session: Session, job_id: str) -> str | None:
    """The processor by the event of the answer; of a copied answer by that of the job which it was copied from."""
    bodies = select(AuditEvent.body).where(AuditEvent.subject == job_id, AuditEvent.action == "succeeded")
    body = session.scalars(bodies.order_by(AuditEvent.seq)).first()
    facts = json.loads(body)["facts"] if body else {}
    source = facts.get("from_job")
    return _find_build(session, source) if source else facts.get("build")


def _as_record(record: Record, engine: Engine, found: Assessment) -> Record:
    other = {} if found.other is None else {OTHER_FINDING: found.other}
    return Record(
        job_id=record.job_id,
        pixels_sha256=record.pixels_sha256,
        blob_ref=record.blob_ref,
        model_sha256=engine.manifest.weights_sha256,
        model=record.model,
        verdict=found.verdict.value,
        numbers={**found.probabilities, **other},
        prediction_set=found.prediction_set,
        reasons=found.reasons,
        device=engine.device,
        build=build_name(),
        code_version=CODE_VERSION,
    )


def difference(recorded: Mapping[str, float], found: Mapping[str, float]) -> float:
    """The largest; no number where one of them lacks a label, which is near nothing.

    A record without `OTHER_FINDING` is compared without it.
    """
    compared = {name: number for name, number in found.items() if name in recorded or name != OTHER_FINDING}
    if recorded.keys() != compared.keys():
        return float("nan")
    return float(np.abs([compared[name] - number for name, number in recorded.items()]).max())
