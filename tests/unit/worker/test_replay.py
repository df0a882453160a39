"""`plainfilm replay`: an answer computed anew beside its record, by a real small model; what cannot be is said."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from shared import samples
from shared.db import deletions, jobs
from shared.db.jobs import NewJob
from shared.db.keys import Principal
from shared.db.tables import Job, Result
from shared.domain import Priority, Role
from shared.imaging import stored
from shared.settings import Settings
from shared.wiring import Resources, new_job_id
from tests.factories import make_pixels, make_png
from tests.fakes import PlainDecoder
from tests.models import make_folded, write_model
from training.golden import write_golden
from worker import boot, replay
from worker.cli import replay as command
from worker.engine.golden import SAME_TOLERANCE, build_name
from worker.pipeline import process
from worker.replay import NOT_TRIED, OTHER, SAME, Record
from worker.serving import Serving
from worker.stages import Kitchen

TOLERANCE = 0.02
"""Of another device: that of the golden set below."""


@dataclass(frozen=True)
class Shop:
    """A home with a model, a worker and the means to ask what it answered."""

    settings: Settings
    kitchen: Kitchen
    model: Path

    def accept(self) -> str:
        """A film that waits; its job's id."""
        film, job_id = PlainDecoder().decode(make_png()), new_job_id()
        ref = self.kitchen.resources.blobs.put("default", job_id, stored.to_bytes(film.pixels), film.stored_sha256)
        with jobs.changing(self.kitchen.resources.database) as changes:
            changes.insert_queued(
                NewJob(job_id, "default", "testkey", None, film.facts, ref, Priority.ROUTINE, 3, "request")
            )
        return job_id

    def answer(self) -> str:
        """A film that the worker answered."""
        job_id = self.accept()
        assert process(self.kitchen, batches=1).succeeded == 1
        return job_id

    def run(self, job_id: str) -> tuple[int, str]:
        """Exit status and what is said."""
        said: list[str] = []
        status = replay.run(self.settings, job_id, said.append)
        return status, "\n".join(said)

    def change(self, table: type[Job | Result], job_id: str, **values: object) -> None:
        """Behind the audit's back."""
        key = Job.id if table is Job else Result.job_id
        with self.kitchen.resources.database.begin() as session:
            session.execute(update(table).where(key == job_id).values(**values))

    def film(self, job_id: str) -> Path:
        """Its file."""
        with self.kitchen.resources.database.read() as session:
            return self.settings.blobs / session.get_one(Job, job_id).blob_ref


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with a golden set."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    write_golden(folder, samples.paths()[:2])
    return folder


@pytest.fixture
def shop(resources: Resources, tmp_path: Path, model: Path) -> Shop:
    """A worker of a real small model, with real files and SQLite; it is built, and runs no thread."""
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    resources.films.open(may_mark=True)
    settings = resources.settings.model_copy(update={"model_dir": folder, "batch_limit": 2})
    kitchen = boot.build(settings, Serving()).kitchen
    own = replace(kitchen.resources, notifier=resources.notifier, queue=resources.queue)  # there is no broker
    return Shop(settings, replace(kitchen, resources=own), folder)


def test_the_same_model_on_the_same_machine_says_the_same(shop: Shop) -> None:
    """Within 1e-5, since device and processor are on record; both answers are printed."""
    job_id = shop.answer()
    status, said = shop.run(job_id)
    assert status == SAME, said
    assert "tolerance 1e-05 (same device and processor as recorded)\nthe same answer" in said
    assert re.search(f"^processor +{re.escape(build_name())} +{re.escape(build_name())}$", said, re.MULTILINE)
    assert all(name in said for name in ("covid19", "normal", "viral_pneumonia", "verdict", shop.kitchen.engine.device))


def test_the_command_ends_with_that_status(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the settings of the environment, without a broker."""
    monkeypatch.setenv("PLAINFILM_HOME", str(shop.settings.home))
    monkeypatch.setenv("PLAINFILM_MODEL_DIR", str(shop.model))
    found = CliRunner().invoke(command, [shop.answer()])
    assert found.exit_code == SAME, found.exception
    assert found.output.splitlines()[-1] == "the same answer"
    assert CliRunner().invoke(command, [new_job_id()]).exit_code == NOT_TRIED


def test_a_copied_answer_is_replayed_as_that_which_it_was_copied_from(shop: Shop) -> None:
    """Its processor is that of who computed it."""
    source, film = shop.answer(), PlainDecoder().decode(make_png())
    new = NewJob(new_job_id(), "default", "testkey", None, film.facts, "", Priority.ROUTINE, 3, "request")
    resources = shop.kitchen.resources
    ref = resources.blobs.copy(str(shop.film(source).relative_to(shop.settings.blobs)), new.id)
    with jobs.changing(resources.database) as changes:
        changes.insert_answered(replace(new, blob_ref=ref), source)
    status, said = shop.run(new.id)
    assert status == SAME, said
    assert "same device and processor as recorded" in said


def test_another_model_is_refused_with_both_names(shop: Shop) -> None:
    """By the SHA-256 of the weights on record."""
    job_id = shop.answer()
    manifest = write_model(shop.model, make_folded(seed=1), version="2")
    status, said = shop.run(job_id)
    assert status == NOT_TRIED
    assert said.startswith("not replayed: The answer is of model plainfilm-test 1 (weights ")
    assert f"the one here is plainfilm-test 2 ({manifest.weights_sha256})" in said


def test_what_cannot_be_tried_is_said(shop: Shop) -> None:
    """A film that was deleted, one that waits, and a job that never was."""
    deleted = shop.answer()
    with jobs.changing(shop.kitchen.resources.database) as changes:
        deletions.delete_job(changes, Principal("k", "default", Role.ADMIN), deleted)
    for job_id, words in (
        (deleted, "Film, result and heatmaps of this job were deleted on "),
        (shop.accept(), "The job is queued and has no answer"),
        (new_job_id(), "There is no job with this id."),
    ):
        status, said = shop.run(job_id)
        assert (status, said[: len(words) + 14]) == (NOT_TRIED, f"not replayed: {words}")


def test_films_that_are_elsewhere_are_not_taken_for_changed(shop: Shop) -> None:
    """A volume that is not mounted, or another home: it could not be tried."""
    job_id = shop.answer()
    shop.settings.blobs.rename(shop.settings.home / "away")
    status, said = shop.run(job_id)
    assert (status, "PLAINFILM_HOME" in said) == (NOT_TRIED, True)


def test_a_row_that_was_changed_is_no_record(shop: Shop) -> None:
    """It is told before anything is computed."""
    job_id = shop.answer()
    shop.change(Result, job_id, verdict="covid19")
    status, said = shop.run(job_id)
    assert status == OTHER
    assert said.startswith(f"job {job_id} is not as the audit chain says: its verdict is 'covid19'")


def test_a_film_that_was_changed_is_not_computed(shop: Shop) -> None:
    """Damaged in its place; or another one, with a row that leads to it, which the audit does not tell."""
    damaged, swapped = shop.answer(), shop.answer()
    shop.film(damaged).write_bytes(b"another")
    assert shop.run(damaged) == (OTHER, "The stored film is damaged: its checksum does not match.")
    data = stored.to_bytes(make_pixels(seed=1))
    ref = shop.kitchen.resources.blobs.put("default", swapped, data, hashlib.sha256(data).hexdigest())
    shop.change(Job, swapped, blob_ref=ref)
    status, said = shop.run(swapped)
    assert status == OTHER
    assert said.startswith("The stored film is not the one that was accepted")


# -- the comparison --------------------------------------------------------------------------------------------------


@pytest.fixture
def record(shop: Shop) -> Record:
    """Of an answer."""
    return replay.read_record(shop.kitchen.resources.database, shop.answer())


@pytest.mark.parametrize(
    ("off_by", "where", "is_same"),
    [
        (2e-6, {}, True),
        (1e-4, {}, False),
        (1e-4, {"device": "cpu/another"}, True),
        (1e-4, {"build": "another"}, True),
        (1e-4, {"build": None}, True),
        (0.05, {"build": None}, False),
        (0.0, {"verdict": "uncertain"}, False),
        (float("nan"), {}, False),
    ],
)
def test_how_far_numbers_may_be_off_goes_by_what_is_on_record(
    shop: Shop, record: Record, off_by: float, where: dict[str, str | None], *, is_same: bool
) -> None:
    """The golden set's two limits; the verdict must be the same in any case."""
    engine, golden = replay.load(shop.settings, record)
    assert golden is not None
    label = next(iter(record.numbers))
    other = replace(record, numbers={**record.numbers, label: record.numbers[label] + off_by}, **where)  # type: ignore[arg-type]
    blobs = shop.kitchen.resources.blobs
    found = replay.replay(blobs, engine, golden.model_copy(update={"tolerance": TOLERANCE}), other)
    assert found.difference == pytest.approx(off_by, abs=1e-6, nan_ok=True)
    is_elsewhere = bool(where.keys() & {"device", "build"})
    assert (found.tolerance, found.is_same) == (TOLERANCE if is_elsewhere else SAME_TOLERANCE, is_same)
    assert list(replay.format_lines(found))[-1] == ("the same answer" if is_same else "NOT the same answer")


def test_a_label_that_only_one_of_them_has_is_a_difference(shop: Shop, record: Record) -> None:
    """However the others agree."""
    engine, golden = replay.load(shop.settings, record)
    other = replace(record, numbers={**record.numbers, "other finding": 0.0})
    assert not replay.replay(shop.kitchen.resources.blobs, engine, golden, other).is_same


def test_what_an_earlier_build_did_not_record_is_not_held_against_its_record(shop: Shop, record: Record) -> None:
    """Records of before schema 0011 say nothing of other findings, which a model may know; its table says so."""
    labels = dict(record.numbers)
    now = {**labels, replay.OTHER_FINDING: 0.25}
    assert replay.difference(labels, now) == 0
    assert math.isnan(replay.difference(now, labels))
    assert math.isnan(replay.difference(labels, {**now, "another": 0.0}))
    engine, golden = replay.load(shop.settings, record)
    found = replay.replay(shop.kitchen.resources.blobs, engine, golden, record)
    told = list(replay.format_lines(replace(found, answer=replace(found.answer, numbers=now))))
    assert any(line.split() == ["other", "finding", "not", "recorded", "0.2500000"] for line in told)


def test_without_a_golden_set_nothing_may_be_further_off(shop: Shop, record: Record) -> None:
    """Nobody has measured how far another device may be."""
    engine, _ = replay.load(shop.settings, record)
    found = replay.replay(shop.kitchen.resources.blobs, engine, None, replace(record, build="another"))
    assert (found.tolerance, found.is_alike) == (SAME_TOLERANCE, False)
