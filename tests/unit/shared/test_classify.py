"""`plainfilm classify`: an answer a file, in order; a refused file is an answer, not an end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest

from shared import wire
from shared.classify import IN_FLIGHT, classify, run
from shared.client import Client, Refused
from shared.domain import Verdict
from tests.wire_jobs import make_wire_job, make_wire_result


class Service:
    """Accepts films, refuses those that begin with b'bad', fails those with b'poison', answers the rest."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.open = self.most_open = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """POST makes a job, GET answers it as done."""
        if request.method == "POST":
            return self._accept(request.read())
        self.open -= 1
        film = self.ids[request.url.path.rsplit("/", 1)[1]]
        if film == "away":
            return httpx.Response(404, content=problem("We are away.").model_dump_json())
        if film == "deleted":
            gone = problem("It was deleted.").model_copy(update={"status": 410, "code": "job_deleted"})
            return httpx.Response(410, content=gone.model_dump_json())
        return httpx.Response(200, content=self._answer(request.url.path.rsplit("/", 1)[1]).model_dump_json())

    def _accept(self, body: bytes) -> httpx.Response:
        film = body.decode()
        if film.startswith("bad"):
            return httpx.Response(422, content=problem("Not a film [sic].").model_dump_json())
        job_id = f"01997000-0000-7000-8000-{len(self.ids):012d}"
        self.ids[job_id] = film
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        return httpx.Response(202, content=make_wire_job(job_id=job_id).model_dump_json())

    def _answer(self, job_id: str) -> wire.Job:
        film = self.ids[job_id]
        if film.startswith("poison"):
            error = wire.JobError(code="poisoned", detail="It will not be tried again.")
            return make_wire_job(job_id=job_id, status="failed", error=error)
        if film.startswith("odd"):
            doubted = make_wire_result(verdict=Verdict.UNCERTAIN).model_copy(update={"reasons": ["low_probability"]})
            return make_wire_job(job_id=job_id, status="succeeded", result=doubted)
        if film.startswith("gone"):
            return make_wire_job(job_id=job_id, status="cancelled")
        return make_wire_job(job_id=job_id, status="succeeded", result=make_wire_result())


def problem(detail: str) -> wire.Problem:
    """A refusal that says this."""
    return wire.Problem(type="/problems#x", title="T", status=422, detail=detail, code="x", request_id="r")


@pytest.fixture
def service() -> Service:
    """A service without a network."""
    return Service()


def client(service: Service) -> Client:
    """Its client."""
    return Client("http://service", "pf_k", 1.0, httpx.MockTransport(service))


def films(folder: Path, *contents: str) -> list[Path]:
    """A file for each content, named by its number."""
    paths = [folder / f"{n:03d}.png" for n in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content)
    return paths


def test_every_file_has_its_answer_in_order(service: Service, tmp_path: Path) -> None:
    """Good, refused, failed, cancelled and absent files side by side."""
    paths = [*films(tmp_path, "good", "bad", "poison", "gone"), tmp_path / "absent.png"]
    with client(service) as open_client:
        answers = list(classify(open_client, paths, "routine"))
    assert [Path(answer.name) for answer in answers] == paths
    assert [answer.error for answer in answers] == [
        None,
        "Not a film [sic].",
        "It will not be tried again.",
        "The job is cancelled.",
        "The file cannot be read: No such file or directory.",
    ]


def test_only_so_many_films_are_under_way(service: Service, tmp_path: Path) -> None:
    """A thousand files do not become a thousand open jobs; a few are kept ahead."""
    with client(service) as open_client:
        answers = list(classify(open_client, films(tmp_path, *["good"] * (IN_FLIGHT + 10)), "bulk"))
    assert len(answers) == IN_FLIGHT + 10
    assert service.most_open == IN_FLIGHT


def test_json_is_one_object_a_line(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdict or error, each with its file; exit status 1 since one has an error."""
    paths = films(tmp_path, "good", "bad")
    with client(service) as open_client:
        assert run(open_client, paths, as_json=True, priority="routine") == 1
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert good == {
        "file": str(paths[0]),
        "job_id": "01997000-0000-7000-8000-000000000000",
        "verdict": "normal",
        "probabilities": {"covid19": 0.1, "normal": 0.8, "viral_pneumonia": 0.1},
        "other_probability": 0.07,
        "prediction_set": ["normal"],
        "reasons": [],
    }
    assert bad == {"file": str(paths[1]), "error": "Not a film [sic]."}


def test_the_table_names_each_film_and_its_verdict(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the notice below it; exit status 0 where all went well."""
    monkeypatch.setenv("COLUMNS", "200")
    with client(service) as open_client:
        assert run(open_client, films(tmp_path, "good"), as_json=False, priority="routine") == 0
    printed = capsys.readouterr().out
    for word in ("000.png", "normal", "80%", "another finding 7%", "not a medical device"):
        assert word in printed


def test_what_was_answered_is_told_where_the_service_goes_away(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The films before the one that no answer came for have their rows; then the fault."""
    monkeypatch.setenv("COLUMNS", "200")
    paths = films(tmp_path, "good", "good", "away")
    with client(service) as open_client, pytest.raises(Refused, match="We are away"):
        run(open_client, paths, as_json=False, priority="routine")
    printed = capsys.readouterr().out
    assert "000.png" in printed
    assert "001.png" in printed
    assert "002.png" not in printed


def test_a_job_that_is_deleted_before_its_answer_came_is_an_answer(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else deletes one film; the others are answered all the same."""
    with client(service) as open_client:
        assert run(open_client, films(tmp_path, "good", "deleted", "good"), as_json=True, priority="routine") == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer.get("error") for answer in found] == [None, "It was deleted.", None]
    assert found[1]["job_id"] == "01997000-0000-7000-8000-000000000001"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_file_whose_name_is_no_text_is_told(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """By bytes that are no UTF-8, which a terminal would not take; its answer and the others are not lost."""
    path = tmp_path / os.fsdecode(b"x\xff.png")
    path.write_text("good")
    with client(service) as open_client:
        assert run(open_client, [path, *films(tmp_path, "good")], as_json=as_json, priority="routine") == 0
    printed = capsys.readouterr().out
    assert "x?.png" in printed
    assert "000.png" in printed


def test_a_file_named_like_a_style_is_shown_as_it_is(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brackets in names and sentences are no markup."""
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "[bold]x.png").write_text("good")
    (tmp_path / "y[").mkdir()
    (tmp_path / "y[" / "red].png").write_text("bad")
    with client(service) as open_client:
        run(open_client, [tmp_path / "[bold]x.png", tmp_path / "y[" / "red].png"], as_json=False, priority="routine")
    printed = capsys.readouterr().out
    assert "[bold]x.png" in printed
    assert "Not a film [sic]." in printed


def test_a_terminal_of_80_columns_shows_it_all(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole job id, which the API takes, and why there is no label."""
    monkeypatch.setenv("COLUMNS", "80")
    with client(service) as open_client:
        run(open_client, films(tmp_path, "odd", "poison"), as_json=False, priority="routine")
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    for job_id in service.ids:
        assert job_id in printed
    for word in ("uncertain", "low_probability", "…"):
        assert (word in printed) is (word != "…")


def test_a_folder_is_the_films_of_its_subfolders_too(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a ZIP and of a folder that is dropped onto the page; a link to a folder is not followed."""
    disc = tmp_path / "disc"
    for name in ("DICOM/ST1/SE2/IM1", "DICOM/ST1/SE1/IM1", "top.png"):
        (disc / name).parent.mkdir(parents=True, exist_ok=True)
        (disc / name).write_bytes(bytes(128) + b"DICM")
    (disc / "DICOM" / "ST1" / "round").symlink_to(disc)
    with client(service) as open_client:
        assert run(open_client, [disc], as_json=True, priority="routine") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = ["DICOM/ST1/SE1/IM1", "DICOM/ST1/SE2/IM1", "top.png"]
    assert [Path(answer["file"]).relative_to(disc).as_posix() for answer in answers] == found


def test_a_subfolder_that_cannot_be_read_is_told(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the films of the others, and the exit status says so."""
    (tmp_path / "disc" / "closed").mkdir(parents=True)
    (tmp_path / "disc" / "top.png").write_text("good")
    scan = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with client(service) as open_client:
        assert run(open_client, [tmp_path / "disc"], as_json=True, priority="routine") == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(answer["file"]).name for answer in told] == ["top.png", "closed"]
    assert told[1]["error"] == "The folder cannot be read: Permission denied."


def test_a_folder_is_the_films_in_it(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By name, after those before it, DICOMs of a number or no suffix too; one without films is said."""
    folder, empty = tmp_path / "folder", tmp_path / "empty"
    folder.mkdir()
    empty.mkdir()
    for name in ("b.PNG", "a.jpeg", "notes.txt", "c.dcm", "README"):
        (folder / name).write_text("good")
    for name in ("IM0001", "IM.0002", "1.2.840.3", "DICOMDIR", "._IM0001", "._c.dcm"):
        (folder / name).write_bytes(bytes(128) + b"DICM")
    (folder / "IM0003").symlink_to("gone")
    with client(service) as open_client:
        assert run(open_client, [folder, empty], as_json=True, priority="routine") == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = ["1.2.840.3", "IM.0002", "IM0001", "a.jpeg", "b.PNG", "c.dcm", "empty"]
    assert [Path(answer["file"]).name for answer in answers] == found
    assert "no PNG, JPEG or DICOM film" in answers[6]["error"]
