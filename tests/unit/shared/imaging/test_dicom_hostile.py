"""What the decoder of DICOM films makes of files that mean it no good; and that it lives on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEGLosslessSV1

from shared.domain import Film
from shared.errors import DecodeLimit, RefusedUpload
from shared.imaging import decode as decode_module
from shared.imaging.decode import decode
from shared.imaging.decoder_client import DECODER_COMMAND
from shared.imaging.decoders import DICOM_COMMAND, Decoders
from shared.imaging.sandbox import Sandbox
from tests.decoders import EVIL_COMMAND, decoder_pid
from tests.dicoms import ENCODERS, LOSSLESS, LOSSY, make_dicom
from tests.factories import make_pixels, make_png, make_png_chunk, make_raw_png
from tests.hostile_dicoms import HOSTILE_DICOMS, ODD_DICOMS
from tests.hostile_films import Hostile
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One decoder of DICOM films for all of this file."""
    with Sandbox(workers=1, command=DICOM_COMMAND) as made:
        yield made


@pytest.mark.parametrize("hostile", HOSTILE_DICOMS.values(), ids=HOSTILE_DICOMS.keys())
def test_hostile_files_are_refused_alike(hostile: Hostile, sandbox: Sandbox) -> None:
    """In a child as here, by the same class and sentence; the decoder stays the same."""
    data = hostile.make()
    assert len(data) < 10**6
    sandbox.start()
    before = decoder_pid(sandbox)
    with pytest.raises(RefusedUpload) as there:
        (sandbox.decode if decode_module.is_dicom(data) else decode)(data)
    with pytest.raises(RefusedUpload) as here:
        decode(data)
    assert type(there.value) is type(here.value) is hostile.refusal
    assert there.value.detail == here.value.detail
    assert decoder_pid(sandbox) == before


@pytest.mark.parametrize("make", ODD_DICOMS.values(), ids=ODD_DICOMS.keys())
def test_odd_files_decode_inside_the_limits(make: Callable[[], bytes], sandbox: Sandbox) -> None:
    """A child that may open no file decodes all that `decode` does."""
    data = make()
    assert sandbox.decode(data).facts == decode(data).facts


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY])
def test_every_syntax_decodes_in_a_child(syntax: str, sandbox: Sandbox) -> None:
    """Whatever its library loads was loaded before."""
    data = make_dicom(pixels=make_pixels(), syntax=syntax)
    np.testing.assert_array_equal(sandbox.decode(data).pixels, decode(data).pixels)


def test_the_largest_film_fits_into_a_child(sandbox: Sandbox) -> None:
    """40 million pixels of lossless JPEG, whose reader needs the most memory."""
    steps = np.arange(4880 * 8192, dtype=np.uint32).reshape(4880, 8192)
    pixels = (steps * np.uint32(2654435761) >> np.uint32(25)).astype(np.uint16) | np.uint16(0x8080)
    data = make_dicom(pixels=pixels, syntax=JPEGLosslessSV1)
    np.testing.assert_array_equal(sandbox.decode(data).pixels, pixels)


def test_a_library_that_aborts_ends_one_child(sandbox: Sandbox) -> None:
    """GDCM does where it does not know on; that film is refused and no other."""
    program = "import os; from shared.imaging import decoder_process; decoder_process.main(lambda _: os.abort())"
    with Sandbox(workers=1, command=(sys.executable, "-I", "-c", program)) as aborting:
        for _ in range(2):
            with pytest.raises(DecodeLimit):
                aborting.decode(make_dicom())


def test_a_decoder_of_dicom_starts_at_the_first_of_them() -> None:
    """A service that gets none has no process for them; PNG and JPEG are read by the other all along."""
    decoders = Decoders(workers=1)
    try:
        decoders.start()
        decoders.decode(make_png(), "ward")
        usual = decoder_pid(decoders._usual)
        assert not decoders._dicom._lines
        assert decoders.decode(make_dicom(), "ward").facts.kind == "dicom"
        for film in (make_png(), make_raw_png(before=[make_png_chunk(kind=b"tEXt", body=bytes(87) + b"DICM")])):
            assert decoders.decode(film, "ward").facts.kind == "png"
        assert decoder_pid(decoders._usual) == usual != decoder_pid(decoders._dicom)
    finally:
        decoders.close()


def test_the_decoder_of_png_and_jpeg_holds_none_of_dicoms_libraries(sandbox: Sandbox) -> None:
    """It has not mapped one, the other has; nor has a web process, which imports what it routes by."""
    with Sandbox(workers=1, command=DECODER_COMMAND) as usual:
        usual.decode(make_png())
        sandbox.decode(make_dicom())
        assert not _libraries(decoder_pid(usual))
        assert _libraries(decoder_pid(sandbox)) == {"gdcm", "charls"}


def _libraries(pid: int) -> set[str]:
    with open(f"/proc/{pid}/maps", encoding="utf-8") as file:  # noqa: PTH123  no file on a disk
        maps = file.read().lower()
    return {name for name in ("gdcm", "charls") if name in maps}


def test_importing_the_decoders_loads_none_of_their_libraries() -> None:
    """A web process never parses an upload, and does not pay for what would."""
    program = (
        "import sys, shared.imaging.decoders\n"
        "sys.exit(any(name in sys.modules for name in ('gdcm', 'jpeg_ls', 'shared.imaging.dicom')))"
    )
    assert subprocess.run([sys.executable, "-I", "-c", program], check=False).returncode == 0


def test_both_decoders_end_with_their_owner() -> None:
    """By `close`, which may come twice, or before anything came."""
    decoders = Decoders(workers=1, command=EVIL_COMMAND, dicom_command=EVIL_COMMAND)
    decoders.decode(b"still")
    pids = [decoder_pid(decoders._usual)]
    decoders.close()
    decoders.close()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "them to end")  # noqa: PTH110


def decode_or_refuse(data: bytes) -> Film | None:
    """Decode; None for a refusal; anything else escapes and fails the test."""
    try:
        return decode(data)
    except RefusedUpload:
        return None


@given(rest=st.binary(max_size=2000))
def test_arbitrary_bytes_never_crash(rest: bytes) -> None:
    """Whatever stands behind the four letters."""
    assert decode_or_refuse(bytes(128) + b"DICM" + rest) is None


PLAIN_FILMS = [make_dicom(pixels=make_pixels(), syntax=syntax) for syntax in LOSSLESS[:3]]
RLE_FILM = make_dicom(pixels=make_pixels(), syntax=LOSSLESS[3])


@settings(max_examples=300)
@given(
    data=st.sampled_from([*PLAIN_FILMS, RLE_FILM]),
    edits=st.lists(st.tuples(st.floats(0, 0.2), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
)
def test_mutated_files_never_crash(data: bytes, edits: list[tuple[float, bytes]]) -> None:
    """A film whose header was overwritten anywhere is refused, or decoded within the limits."""
    mutated = bytearray(data)
    for share, patch in edits:
        at = 132 + int(share * len(mutated))
        mutated[at : at + len(patch)] = patch
    film = decode_or_refuse(bytes(mutated))
    if film:
        height_px, width_px = film.pixels.shape
        decode_module.check_size(width_px, height_px)


@settings(max_examples=60)
@given(syntax=st.sampled_from(sorted(ENCODERS)), at=st.floats(0, 0.999), patch=st.binary(min_size=1, max_size=8))
def test_mutated_frames_never_end_the_decoder(syntax: str, at: float, patch: bytes, sandbox: Sandbox) -> None:
    """In a child, since some libraries abort: whatever comes of the film, the decoder is the same afterwards."""
    frame = bytearray(ENCODERS[syntax](make_pixels(), 8))
    place = int(at * len(frame))
    frame[place : place + len(patch)] = patch
    sandbox.start()
    before = decoder_pid(sandbox)
    try:
        film = sandbox.decode(make_dicom(pixels=make_pixels(), syntax=syntax, frame=bytes(frame)))
        assert film.pixels.shape == make_pixels().shape
    except RefusedUpload:
        pass
    assert decoder_pid(sandbox) == before
