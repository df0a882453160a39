"""JPEG and PNG films with names in them, sent to a running web process: pixels are kept, and nothing else is."""

from __future__ import annotations

import signal
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from shared import wire
from shared.imaging.png import SIGNATURE
from tests.factories import make_jpeg, make_png, make_png_chunk
from tests.web_alone import WebAlone

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NAME = b"ROE^CANARY"
NUMBER = int.from_bytes(b"CANA", "big")
"""A degree of latitude whose bytes are part of the name."""
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:li>' + NAME + b"</rdf:li></x:xmpmeta>"
ARTIST, DESCRIPTION, COPYRIGHT, USER_COMMENT, MAKER_NOTE = 0x013B, 0x010E, 0x8298, 0x9286, 0x927C
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
LATITUDE, METHOD, AREA = 2, 27, 28


def make_named_exif() -> bytes:
    """A TIFF block with the name in its first directory, in that of the exposure and in that of the place."""
    exif = Image.Exif()
    for tag in (ARTIST, DESCRIPTION, COPYRIGHT):
        exif[tag] = NAME.decode()
    exif.get_ifd(EXIF_IFD).update({USER_COMMENT: b"ASCII\0\0\0" + NAME, MAKER_NOTE: NAME})
    place = {LATITUDE: (float(NUMBER),) * 3, METHOD: NAME, AREA: NAME}
    exif.get_ifd(GPS_IFD).update(place)
    return exif.tobytes().removeprefix(b"Exif\0\0")


def make_named_jpeg() -> bytes:
    """EXIF, XMP, IPTC, a colour profile, an unknown segment, a comment, and what follows the end."""
    segments = {
        0xE1: [b"Exif\0\0" + make_named_exif(), b"http://ns.adobe.com/xap/1.0/\0" + XMP],
        0xED: [b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0f\x1c\x02\x50\0\x0a" + NAME + b"\0"],
        0xEA: [NAME],
        0xFE: [NAME],
    }
    head = b"".join(
        bytes((0xFF, kind)) + (2 + len(body)).to_bytes(2, "big") + body for kind in segments for body in segments[kind]
    )
    plain = make_jpeg()
    return plain[:2] + head + plain[2:] + NAME


def make_named_png() -> bytes:
    """Texts of all three kinds, plain and packed, XMP, EXIF, a profile's name, before the film and behind it."""
    chunks = [
        (b"iCCP", NAME + b"\0\0" + zlib.compress(NAME)),
        (b"tEXt", b"Patient\0" + NAME),
        (b"zTXt", NAME + b"\0\0" + zlib.compress(NAME)),
        (b"iTXt", b"Title\0\0\0en\0" + NAME + b"\0" + NAME),
        (b"iTXt", NAME + b"\0\1\0\0\0" + zlib.compress(NAME)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        (b"eXIf", make_named_exif()),
        (b"prVt", NAME),
    ]
    named = b"".join(make_png_chunk(kind=kind, body=body) for kind, body in chunks)
    plain, end = make_png(), len(SIGNATURE) + 25
    last = plain.rindex(b"IEND") - 4
    late = make_png_chunk(kind=b"tEXt", body=b"Comment\0" + NAME)
    return plain[:end] + named + plain[end:last] + late + plain[last:] + NAME


FILMS = {"jpeg": (make_named_jpeg(), make_jpeg()), "png": (make_named_png(), make_png())}
"""By kind: one with names, and the same without."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the web process."""
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[httpx.Client]:
    """Of one web process, with the admin's key."""
    web = WebAlone(home, "tests.patient")
    web.wait()
    base = f"http://127.0.0.1:{web.port}/api/v1/"
    with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {web.key}"}, timeout=60.0) as made:
        yield made
    web.end(signal.SIGTERM)


@pytest.mark.parametrize("kind", FILMS)
def test_no_name_stays_anywhere(home: Path, client: httpx.Client, kind: str) -> None:
    """As raw body, in a form and as its file's name, taken and refused: database, films, logs, answers."""
    film, plain = FILMS[kind]
    assert film.count(NAME) >= 10
    assert film.count(b"CANA") >= film.count(NAME) + 3, "and its place"
    raw = {"Content-Type": f"image/{kind}"}
    answers = [client.post("jobs", content=film, headers=raw)]
    answers.append(client.post("jobs", files={"file": (f"{NAME.decode()}.{kind}", film)}))
    refused = [film[: film.rindex(b"IEND") - 60] if kind == "png" else film[: -len(NAME) - 60], NAME + film]
    answers += [client.post("jobs", files={"file": (f"{NAME.decode()}.{kind}", data)}) for data in refused]
    assert [answer.status_code for answer in answers] == [202, 202, 422, 415]
    clean = wire.Job.model_validate_json(client.post("jobs", content=plain, headers=raw).content)
    for answer in answers[:2]:
        job = wire.Job.model_validate_json(answer.content)
        assert (job.input.kind, job.input.pixels_sha256) == (kind, clean.input.pixels_sha256)
        answers += [client.get(f"jobs/{job.id}{path}") for path in ("", "/film", "/explanations")]
    answers += [client.get("jobs"), client.get("jobs.csv")]
    assert not any(b"CANA" in answer.content or "CANA" in str(answer.headers) for answer in answers)
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {"plainfilm.db", "said.log"} <= {path.name for path in files}
    assert [path for path in files if b"CANA" in path.read_bytes() or "CANA" in str(path)] == []
