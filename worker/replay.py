"""The use case "replay": recompute the answer of a stored film on this machine, compare it with the record. Read-only.

The record is the rows of the job, first compared with its audit events. The film, the model (by its SHA-256) and the
engine are those that a worker on this machine would use; no job is claimed, and no broker is needed.
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
from worker.load import load_serving_engine
from worker.serving import model_folder

SAME, OTHER, NOT_TRIED = 0, 1, 2
"""Exit statuses."""

OTHER_FINDING: Final = "other finding"
"""The name of its probability; records of builds before schema 0011 lack it and are compared without it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One answer, recorded or recomputed, with the model, device and processor that computed it.

    Attributes:
        numbers: calibrated probabilities by label, and that of an other finding if the model has that output.
        build: the processor; None if the audit event does not name it.
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
    """The recorded answer and the recomputed one.

    Attributes:
        difference: the largest absolute difference of their numbers; NaN if their labels differ.
        tolerance: the largest difference accepted on this device and processor.
        is_alike: device and processor are the recorded ones.
    """

    record: Record
    answer: Record
    difference: float
    tolerance: float
    is_alike: bool

    @property
    def is_same(self) -> bool:
        """True if the verdicts are equal and the numbers agree within the tolerance. False if the difference is NaN."""
        return self.answer.verdict == self.record.verdict and self.difference <= self.tolerance


def run(settings: Settings, job_id: str, echo: Callable[[str], object]) -> int:
    """Replay a job, print the comparison, and return the exit status.

    Returns:
        0 if the answer is the same; 1 if it is not, or if rows or film differ from the record; 2 if the replay could
        not be tried.
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
    for line in format_lines(replayed):
        echo(line)
    return SAME if replayed.is_same else OTHER


def find_change(database: Database, job_id: str) -> str | None:
    """Return how the rows of the job differ from its audit events; None if they agree, or if there is no such job."""
    with database.read() as session:
        job = session.get(Job, job_id)
        return audit_comparison.compare_one(session, job) if job else None


def read_record(database: Database, job_id: str) -> Record:
    """Return the recorded answer of a job.

    Raises:
        JobNotFound: there is no such job, or it was deleted with film and result (`JobDeleted`).
        Conflict: the job has no answer.
    """
    with database.read() as session:
        job = session.get(Job, job_id)
        if job is None:
            deleted = session.get(DeletedJob, job_id)
            raise missing(session, deleted.tenant if deleted else "", job_id)
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
    """Return the engine that a worker on this machine serves with, and its golden set.

    Raises:
        ModelReplaced: the recorded answer is of another model.
        ModelProblem: the model on this machine cannot be used.
    """
    folder = model_folder(settings)
    manifest = read_manifest(folder)
    if manifest.weights_sha256 != record.model_sha256:
        raise ModelReplaced(
            f"The answer is of model {record.model} (weights {record.model_sha256}); the one here is {manifest.name} "
            f"{manifest.version} ({manifest.weights_sha256}). Set PLAINFILM_MODEL_DIR to the folder of the former."
        )
    golden = read_golden(folder)
    engine, _ = load_serving_engine(settings, manifest, load_weights(folder, manifest), golden)
    return engine, golden


def replay(blobs: BlobStore, engine: Engine, golden: Golden | None, record: Record) -> Replayed:
    """Recompute the answer and compare it with the record.

    Raises:
        BlobMissing: the stored film is missing, or is not the one that was accepted.
    """
    pixels = stored.from_bytes(blobs.get(record.blob_ref))
    if stored.digests(pixels)[0] != record.pixels_sha256:
        raise BlobMissing("The stored film is not the one that was accepted: its pixels have another SHA-256.")
    (evidence,) = look(engine, [pixels])
    answer = _as_record(record, engine, assess(evidence, engine.manifest))
    alike = record.build is not None and is_alike(engine, record.device, record.build)
    tolerance = SAME_TOLERANCE if alike or golden is None else golden.tolerance
    return Replayed(record, answer, difference(record.numbers, answer.numbers), tolerance, alike)


def format_lines(replayed: Replayed) -> Iterator[str]:
    """Yield the lines of a table of record and answer, and of the conclusion."""
    record, answer = replayed.record, replayed.answer
    yield f"job {record.job_id}, model {record.model}, film and record as they were accepted"
    rows = [("", "recorded", "now"), ("verdict", record.verdict, answer.verdict)]
    names = {**record.numbers, **answer.numbers}
    rows += [(name, _show(record.numbers, name, "not recorded"), _show(answer.numbers, name, "-")) for name in names]
    rows += [
        ("set", " ".join(record.prediction_set) or "-", " ".join(answer.prediction_set) or "-"),
        ("reasons", " ".join(record.reasons) or "-", " ".join(answer.reasons) or "-"),
        ("device", record.device, answer.device),
        ("processor", record.build or "not recorded", answer.build or ""),
        ("code", record.code_version, answer.code_version),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    yield from (f"{name:{widths[0]}}  {then:{widths[1]}}  {now}".rstrip() for name, then, now in rows)
    where = "same device and processor as recorded" if replayed.is_alike else "another device or processor"
    yield f"largest difference {replayed.difference:.2g}, tolerance {replayed.tolerance:.2g} ({where})"
    yield "the same answer" if replayed.is_same else "NOT the same answer"


def _show(numbers: Mapping[str, float], name: str, absent: str) -> str:
    """Format the number of this name; return `absent` if there is none."""
    return f"{numbers[name]:.7f}" if name in numbers else absent


def _find_build(session: Session, job_id: str) -> str | None:
    """Return the processor named by the audit event of the answer; of a copied answer, by that of the original job."""
    bodies = select(AuditEvent.body).where(AuditEvent.subject == job_id, AuditEvent.action == "succeeded")
    body = session.scalars(bodies.order_by(AuditEvent.seq)).first()
    facts = json.loads(body)["facts"] if body else {}
    source = facts.get("from_job")
    return _find_build(session, source) if source else facts.get("build")


def _as_record(record: Record, engine: Engine, assessment: Assessment) -> Record:
    """Return the recomputed answer in the form of a record."""
    other = {} if assessment.other is None else {OTHER_FINDING: assessment.other}
    return Record(
        job_id=record.job_id,
        pixels_sha256=record.pixels_sha256,
        blob_ref=record.blob_ref,
        model_sha256=engine.manifest.weights_sha256,
        model=record.model,
        verdict=assessment.verdict.value,
        numbers={**assessment.probabilities, **other},
        prediction_set=assessment.prediction_set,
        reasons=assessment.reasons,
        device=engine.device,
        build=build_name(),
        code_version=CODE_VERSION,
    )


def difference(recorded: Mapping[str, float], computed: Mapping[str, float]) -> float:
    """Largest absolute difference; NaN if the labels differ, which no tolerance accepts.

    A record without `OTHER_FINDING` is compared without it.
    """
    compared = {name: number for name, number in computed.items() if name in recorded or name != OTHER_FINDING}
    if recorded.keys() != compared.keys():
        return float("nan")
    return float(np.abs([compared[name] - number for name, number in recorded.items()]).max())
