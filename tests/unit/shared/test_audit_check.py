"""What `plainfilm audit verify` says of anchors and films, and its exit status; `plainfilm audit anchor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete
from typer.testing import CliRunner, Result

from shared import audit_check, cli
from shared.db import migrate
from shared.db.engine import Database, make_engine
from shared.db.film_folder import FilmFolder
from shared.db.tables import Job
from shared.storage.local import LocalBlobs
from shared.wiring import new_job_id
from tests.jobs import make_job


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The database of a home that the commands find, with its folder of films."""
    monkeypatch.setenv("PLAINFILM_HOME", str(tmp_path))
    for name in ("PLAINFILM_KEY", "PLAINFILM_DATABASE_URL", "PLAINFILM_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    opened = Database(make_engine(f"sqlite:///{tmp_path / 'plainfilm.db'}"))
    migrate.upgrade(opened)
    FilmFolder(tmp_path / "films", opened).open(may_mark=True)
    yield opened
    opened.close()


@pytest.fixture
def jobs(database: Database, tmp_path: Path) -> list[tuple[str, Path]]:
    """Three jobs, each with the path of its film."""
    blobs, made = LocalBlobs(tmp_path / "films"), []
    for n in range(3):
        ref = blobs.put("default", new_job_id(), b"film %d" % n)
        made.append((make_job(database, blob_ref=ref), tmp_path / "films" / ref))
    return made


def run(*arguments: str) -> Result:
    """In this process."""
    return CliRunner().invoke(cli.cli, ["audit", *arguments])


HOLDS = "3 events, the chain holds\n3 jobs, each as the chain says\n"


def test_films_are_read_where_that_is_asked_for(jobs: list[tuple[str, Path]]) -> None:
    """All of them, whatever is wrong with one: a missing and a damaged one are named; without the option none is."""
    assert run("verify", "--films").output == f"{HOLDS}3 films, each as it was stored\n"
    (missing, its_path), (damaged, other_path), _ = jobs
    its_path.unlink()
    other_path.write_bytes(b"other bytes")
    found = run("verify", "--films")
    assert found.exit_code == 1
    assert found.output == (
        f"{HOLDS}job {missing}: The stored film is missing.\n"
        f"job {damaged}: The stored film is damaged: its checksum does not match.\n"
        "3 films, 2 missing or damaged\n"
    )
    assert (run("verify").exit_code, run("verify").output) == (0, HOLDS)


def test_a_film_that_is_deleted_meanwhile_is_not_missed(
    jobs: list[tuple[str, Path]], database: Database, tmp_path: Path
) -> None:
    """Its job has no row any more."""
    found = audit_check.find_bad_films(database, LocalBlobs(tmp_path / "films"))
    assert next(found) == (jobs[0][0], None)
    with database.begin() as session:
        session.execute(delete(Job).where(Job.id == jobs[1][0]))
    jobs[1][1].unlink()
    assert list(found) == [(jobs[2][0], None)]


def test_a_film_that_cannot_be_read_is_no_statement_about_any(jobs: list[tuple[str, Path]]) -> None:
    """Exit 2, and its job is named: the disk's fault is not the film's."""
    job_id, path = jobs[1]
    path.unlink()
    path.mkdir()
    found = run("verify", "--films")
    assert found.exit_code == 2
    assert f"not verified: job {job_id}: The stored film cannot be read just now. (Is a directory)" in found.output


@pytest.mark.usefixtures("jobs")
def test_films_elsewhere_cannot_be_checked(tmp_path: Path) -> None:
    """Exit 2: that is no statement about any film."""
    (tmp_path / "films" / ".database").unlink()
    found = run("verify", "--films")
    assert found.exit_code == 2
    assert "not verified: The films of this database are not in the folder" in found.output


@pytest.mark.usefixtures("jobs")
def test_the_chain_has_the_anchors_of_before(database: Database, tmp_path: Path) -> None:
    """Printed by a command, or logged by a worker; several files may be given."""
    printed = run("anchor").output
    assert json.loads(printed) == {"stream": "default", "seq": 3, "hash": json.loads(printed)["hash"]}
    first, log = tmp_path / "anchors.jsonl", tmp_path / "worker.log"
    first.write_text(printed)
    make_job(database)
    log.write_text(
        '{"event":"worker.started"}\n' + json.dumps({"event": "audit.anchored", **json.loads(run("anchor").output)})
    )
    found = run("verify", "--anchors", str(first), "--anchors", str(log))
    assert (found.exit_code, found.output.splitlines()[0]) == (0, "4 events, the chain holds, and has 2 anchors")


@pytest.mark.usefixtures("jobs")
def test_a_forged_anchor_is_status_1(tmp_path: Path) -> None:
    """With the place, before the jobs are looked at."""
    file = tmp_path / "anchors.jsonl"
    file.write_text(json.dumps({"stream": "default", "seq": 9, "hash": "0" * 64}))
    found = run("verify", "--anchors", str(file))
    assert found.exit_code == 1
    assert found.output == "broken at default event 9: the event of an anchor is missing: the chain was cut off\n"


@pytest.mark.usefixtures("database")
def test_a_file_without_an_anchor_is_status_2(tmp_path: Path) -> None:
    """As one that is not there: a check that checks nothing must not pass."""
    (tmp_path / "empty").write_text("no anchor here\n")
    for name, said in (("empty", "has no anchor"), ("absent", "No such file")):
        found = run("verify", "--anchors", str(tmp_path / name))
        assert found.exit_code == 2
        assert said in found.output
