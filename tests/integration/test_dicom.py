"""DICOM films sent to a running web process: what becomes of their pixels, of names in them, of files that are none."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from shared import samples, wire
from shared.imaging import stored
from shared.imaging.decode import decode, is_dicom
from tests.dicoms import make_dicom
from tests.factories import make_pixels, make_png
from tests.hostile_dicoms import HOSTILE_DICOMS, long_element, with_elements, with_syntax
from tests.waiting import wait_until
from tests.web_alone import MOST, WebAlone

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NAME = "ROE^CANARY"
NAMED = (
    *(
        "PatientName",
        "PatientID",
        "PatientSex",
        "PatientComments",
        "OtherPatientNames",
        "InstitutionName",
        "StationName",
    ),
    *("ReferringPhysicianName", "OperatorsName", "AccessionNumber", "StudyDescription", "SeriesDescription"),
    *("BodyPartExamined", "ImageComments"),
)
UNKNOWN = "01997000-0000-7000-8000-000000000000"
DICOM = {"Content-Type": "application/dicom"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the web process."""
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="module")
def web(home: Path) -> Iterator[WebAlone]:
    """One for all of them."""
    made = WebAlone(home, "tests.patient")
    made.wait()
    yield made
    made.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def client(web: WebAlone) -> Iterator[httpx.Client]:
    """With the admin's key."""
    with _client(web) as made:
        yield made


def _client(web: WebAlone) -> httpx.Client:
    base = f"http://127.0.0.1:{web.port}/api/v1/"
    return httpx.Client(base_url=base, headers={"Authorization": f"Bearer {web.key}"}, timeout=60.0)


def job_of(response: httpx.Response) -> wire.Job:
    """A film that was accepted."""
    assert response.status_code == 202, response.text
    return wire.Job.model_validate_json(response.content)


def stored_pixels(home: Path, job: wire.Job) -> np.ndarray:
    """The one film in the job's folder."""
    (path,) = (home / "films" / "default" / job.id).iterdir()
    return stored.from_bytes(path.read_bytes())


def test_a_decoder_for_them_starts_at_the_first_and_ends_with_the_web_process(tmp_path: Path) -> None:
    """Till then there is one decoder."""
    web = WebAlone(tmp_path, "tests.patient")
    web.wait()
    with _client(web) as client:
        job_of(client.post("jobs", content=make_png(), headers={"Content-Type": "image/png"}))
        assert len(_decoders(web)) == 1
        job_of(client.post("jobs", content=make_dicom(), headers=DICOM))
        both = _decoders(web)
    assert len(both) == 2
    assert web.end(signal.SIGTERM)[0] == 0
    assert psutil.wait_procs(both, 60)[1] == []


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_its_pixels_are_stored_as_those_of_a_png(home: Path, client: httpx.Client, syntax: str | None) -> None:
    """All sixteen bits, from a raw body and from a form; and the same picture is served."""
    pixels = make_pixels(dtype=np.uint16, seed=7)
    as_png = job_of(client.post("jobs", content=make_png(pixels=pixels), headers={"Content-Type": "image/png"}))
    data = make_dicom(pixels=pixels, **({"syntax": syntax} if syntax else {}))
    raw = job_of(client.post("jobs", content=data, headers=DICOM))
    form = job_of(client.post("jobs", files={"file": ("film", data)}))
    for job in (raw, form):
        np.testing.assert_array_equal(stored_pixels(home, job), stored_pixels(home, as_png))
        np.testing.assert_array_equal(stored_pixels(home, job), pixels)
        assert (job.input.kind, job.input.bit_depth) == ("dicom", 16)
        assert job.input.pixels_sha256 == as_png.input.pixels_sha256
        assert client.get(f"jobs/{job.id}/film").content == client.get(f"jobs/{as_png.id}/film").content


def test_a_sample_film_is_the_same_as_a_dicom(home: Path, client: httpx.Client) -> None:
    """A blend of eight bits: as a network sees it, it is the PNG that ships."""
    data = samples.paths()[0].read_bytes()
    as_png = job_of(client.post("jobs", content=data, headers={"Content-Type": "image/png"}))
    as_dicom = job_of(client.post("jobs", content=make_dicom(pixels=decode(data).pixels), headers=DICOM))
    assert as_dicom.input.pixels_sha256 == as_png.input.pixels_sha256
    assert stored_pixels(home, as_dicom).dtype == np.uint8


def named_elements() -> dict[str, object]:
    """A name in every place that has one."""
    inside = Dataset()
    inside.PatientName, inside.PatientID, inside.IssuerOfPatientID = NAME, NAME, NAME
    inside.add_new(0x00090010, "LO", NAME)
    deeper = Dataset()
    deeper.OtherPatientIDsSequence = [inside]
    return {
        **dict.fromkeys(NAMED, NAME),
        "RequestAttributesSequence": [deeper],
        "OtherPatientIDsSequence": [inside],
    }


@pytest.mark.filterwarnings("ignore:(Invalid value|The value length):UserWarning")
def test_no_name_stays_anywhere(home: Path, web: WebAlone, client: httpx.Client) -> None:
    """In elements, nested and private too, before, behind and as the file name: database, films, logs, answers."""
    film = make_dicom(**named_elements())
    private = long_element(len(NAME), NAME.encode())
    film = NAME.encode().ljust(128, b"\0") + with_elements(film, private)[128:] + NAME.encode()
    assert film.count(NAME.encode()) >= 20
    refused = [
        make_dicom(Modality=NAME, **named_elements()),
        make_dicom(ViewPosition="LATERAL", PatientOrientation=NAME, **named_elements()),
        make_dicom(PhotometricInterpretation=NAME),
        with_syntax(NAME, film),
        film[:-300],
        with_elements(film, long_element(2**31, NAME.encode())),
        make_dicom(RescaleSlope="99999999", RescaleIntercept=0).replace(b"99999999", b"ROE^CANA", 1),
    ]
    answers = [client.post("jobs", files={"file": (f"{NAME}.dcm", data)}) for data in (film, *refused)]
    answers.append(client.post("jobs", content=film, headers=DICOM))
    job = job_of(answers[0])
    assert [answer.status_code for answer in answers[1:-1]] == [422, 422, 415, 415, 422, 422, 422]
    answers += [client.get(f"jobs/{job.id}{path}") for path in ("", "/film", "/explanations")]
    answers += [client.get("jobs"), client.get("jobs.csv"), client.get(f"jobs/{UNKNOWN}")]
    assert not any(b"CANA" in answer.content or "CANA" in str(answer.headers) for answer in answers)
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {"plainfilm.db", "said.log"} <= {path.name for path in files}
    assert [path for path in files if b"CANA" in path.read_bytes() or "CANA" in str(path)] == []


def test_hostile_files_are_refused_with_their_reason(web: WebAlone, client: httpx.Client) -> None:
    """Problem details of status 4xx, none by the decoder's limit of 20 s; both live on, and hold no more memory."""
    client.post("jobs", content=make_dicom(), headers=DICOM)
    before = {decoder.pid: _held_bytes(decoder) for decoder in _decoders(web)}
    for name, hostile in HOSTILE_DICOMS.items():
        data = hostile.make()
        begun = time.monotonic()
        response = client.post("jobs", content=data, headers=DICOM)
        assert time.monotonic() - begun < 15, name
        problem = wire.Problem.model_validate_json(response.content)
        assert response.headers["Content-Type"] == "application/problem+json"
        assert (problem.code, problem.status) == (hostile.refusal.code, hostile.refusal.status), name
        assert response.status_code == problem.status
    after = {decoder.pid: _held_bytes(decoder) for decoder in _decoders(web)}
    assert after.keys() == before.keys()
    assert all(after[pid] - before[pid] < 4 * 2**20 for pid in after)
    assert web.is_alive()


def test_the_largest_upload_is_taken(client: httpx.Client) -> None:
    """To its last byte."""
    pixels = np.zeros((2048, 2040), np.uint16)
    data = make_dicom(pixels=pixels)
    padded = data + bytes(MOST - len(data)) if len(data) < MOST else data
    assert is_dicom(padded)
    assert job_of(client.post("jobs", content=padded, headers=DICOM)).input.kind == "dicom"


def _held_bytes(process: psutil.Process) -> int:
    """Of its own: what it reads of its program's files the kernel takes and gives as it likes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "VmSwap:")))


def _decoders(web: WebAlone) -> list[psutil.Process]:
    """Those that a web process started, without their children."""
    started = wait_until(psutil.Process(web.process.pid).children, "decoders")
    return [process for process in started if "_process" in " ".join(process.cmdline())]
