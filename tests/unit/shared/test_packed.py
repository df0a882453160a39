"""Films in a ZIP: what is read of honest archives, and what hostile ones come to."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shared import packed
from shared.errors import RefusedUpload, TooLarge, UnreadableImage
from shared.packed import MOST_BYTES, MOST_ENTRIES, films_in

BOMB_BYTES = 200 * 2**20


def make_zip(
    path: Path, *entries: tuple[str, bytes], change: Callable[[bytes], bytes] = bytes, kind: int = zipfile.ZIP_DEFLATED
) -> Path:
    """An archive at `path`, `change`d before it is written."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    path.write_bytes(change(buffer.getvalue()))
    return path


def claim_size(data: bytes, size_bytes: int) -> bytes:
    """The same archive of one entry, which says of itself, in both places, that it has so many bytes."""
    at = data.index(b"PK\x01\x02")
    size = struct.pack("<I", size_bytes)
    return data[:22] + size + data[26 : at + 24] + size + data[at + 28 :]


def test_films_are_read_in_order_wherever_they_lie(tmp_path: Path) -> None:
    """Folders and all, stored or deflated, two of one name; nothing else, and no disk is written to."""
    entries = [
        ("b.PNG", b"1"),
        ("ward/a.jpg", b"2"),
        ("notes.txt", b"x"),
        ("b.PNG", b"3"),
        ("__MACOSX/ward/._a.jpg", b""),
    ]
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = make_zip(tmp_path / "films.zip", *entries)
    films = films_in(path)
    assert [(str(film), film.read_bytes()) for film in films] == [
        (f"{path}/b.PNG", b"1"),
        (f"{path}/ward/a.jpg", b"2"),
        (f"{path}/b.PNG", b"3"),
    ]
    stored = make_zip(tmp_path / "stored.zip", ("c.png", b"4" * 9999), kind=zipfile.ZIP_STORED)
    assert films_in(stored)[0].read_bytes() == b"4" * 9999
    assert {found.name for found in tmp_path.iterdir()} == {"films.zip", "stored.zip"}


def test_the_dicoms_of_a_disc_are_found_by_what_they_begin_with(tmp_path: Path) -> None:
    """Their names are numbers; its index and what macOS put beside them are none."""
    film = bytes(128) + b"DICM"
    names = ["DICOMDIR", "DICOM/PA1/IM000001", "DICOM/1.2.840.3", "README", "._IM000001", "VIEWER.EXE"]
    path = make_zip(tmp_path / "disc.zip", *((name, b"x" * 200 if name == "README" else film) for name in names))
    assert [str(found) for found in films_in(path)] == [f"{path}/{name}" for name in names[1:3]]


def test_an_entry_without_a_name_is_no_film(tmp_path: Path) -> None:
    """One whose name begins with NUL, which ends it, is passed over; the others are read."""
    path = make_zip(
        tmp_path / "n.zip", ("a.png", b"1"), ("xyz", b"2"), change=lambda data: data.replace(b"xyz", b"\0yz")
    )
    assert [film.read_bytes() for film in films_in(path)] == [b"1"]


def test_a_name_makes_no_path_and_steers_no_terminal(tmp_path: Path) -> None:
    """It is only shown, without signs that are not printed."""
    names = ["../../../etc/x.png", "/etc/x.png", "C:\\x.png", "\x1b[2J\rx.png"]
    (tmp_path / "deep").mkdir()
    path = make_zip(tmp_path / "deep" / "n.zip", *((name, b"film") for name in names))
    films = films_in(path)
    assert [film.read_bytes() for film in films] == [b"film"] * 4
    assert str(films[3]) == f"{path}/?[2J?x.png"
    assert [found.name for found in tmp_path.rglob("*")] == ["deep", "n.zip"]


@pytest.mark.parametrize(
    ("claimed", "refusal"),
    [(BOMB_BYTES, TooLarge), (100, UnreadableImage), (2**32 - 1, (TooLarge, UnreadableImage, RefusedUpload))],
    ids=["as it is", "as less", "as all there can be"],
)
def test_a_bomb_is_not_unpacked(
    tmp_path: Path, claimed: int, refusal: type[Exception] | tuple[type[Exception], ...]
) -> None:
    """200 MB of zeros, whatever the entry says of them: hardly any memory, and a refusal of this film alone."""
    path = make_zip(tmp_path / "bomb.zip", ("x.png", bytes(BOMB_BYTES)), change=lambda data: claim_size(data, claimed))
    tracemalloc.start()
    try:
        with pytest.raises(refusal):
            films_in(path)[0].read_bytes()
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_an_entry_that_claims_more_than_it_has_is_damaged(tmp_path: Path) -> None:
    """Whatever its checksum says."""
    path = make_zip(tmp_path / "x.zip", ("x.png", b"film" * 100), change=lambda data: claim_size(data, 50_000))
    with pytest.raises(UnreadableImage, match="damaged"):
        films_in(path)[0].read_bytes()


def test_one_damaged_film_leaves_the_others(tmp_path: Path) -> None:
    """Its checksum shows it."""
    films = [("a.png", b"first" * 50), ("b.png", b"second" * 50)]
    path = make_zip(
        tmp_path / "x.zip", *films, kind=zipfile.ZIP_STORED, change=lambda data: data.replace(b"ond", b"0nd", 1)
    )
    first, second = films_in(path)
    assert first.read_bytes() == b"first" * 50
    with pytest.raises(UnreadableImage, match="damaged"):
        second.read_bytes()


def test_an_encrypted_film_is_told_as_such(tmp_path: Path) -> None:
    """And one that is packed in a way that is not read."""

    def mark(data: bytes) -> bytes:
        at = data.index(b"PK\x01\x02")
        return data[:6] + b"\x01" + data[7 : at + 8] + b"\x01" + data[at + 9 :]

    path = make_zip(tmp_path / "x.zip", ("x.png", b"film"), change=mark)
    rare = make_zip(tmp_path / "rare.zip", ("x.png", b"film"), kind=zipfile.ZIP_LZMA)
    for archive in (path, rare):
        with pytest.raises(UnreadableImage, match="encrypted, or its compression"):
            films_in(archive)[0].read_bytes()


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-30], lambda data: data[40:], lambda _: b"", lambda _: b"PK" * 99],
    ids=["its end", "its beginning", "all", "never was one"],
)
def test_what_is_no_whole_archive_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    """Cut at its end, at its beginning, empty, or something else: as a whole, or each film of it."""
    path = make_zip(tmp_path / "x.zip", ("x.png", b"film" * 100), change=change)
    with pytest.raises(RefusedUpload):
        films_in(path)[0].read_bytes()


def test_archives_in_archives_are_no_films(tmp_path: Path) -> None:
    """One that has nothing else is said to have no film."""
    inner = make_zip(tmp_path / "inner.zip", ("x.png", b"film"))
    path = make_zip(tmp_path / "x.zip", ("inner.zip", inner.read_bytes()))
    with pytest.raises(RefusedUpload, match="no PNG, JPEG or DICOM film"):
        films_in(path)


def test_an_archive_of_100_000_entries_is_refused_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within seconds; as many as may be are taken."""
    path = make_zip(tmp_path / "x.zip", *((f"{n}.png", b"") for n in range(100_000)), kind=zipfile.ZIP_STORED)
    begun = time.monotonic()
    with pytest.raises(RefusedUpload, match=f"more than {MOST_ENTRIES} entries"):
        films_in(path)
    assert time.monotonic() - begun < 30
    monkeypatch.setattr(packed, "MOST_ENTRIES", 100_000)
    assert len(films_in(path)) == 100_000


def test_the_limits_are_those_of_the_service() -> None:
    """No film that a service takes is too large here, and no more than it takes from a tenant are read."""
    assert (MOST_BYTES, MOST_ENTRIES) == (67_108_864, 20_000)
