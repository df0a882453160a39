"""`plainfilm doctor`: looks at this machine and home, and says what is missing and how to get it. Changes nothing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Final
from urllib.parse import urlsplit

from shared import broker, samples
from shared.db import schema
from shared.db.engine import Database, build_database, is_missing_file
from shared.db.film_folder import UNMARKED, FilmFolder
from shared.errors import AppError, InvalidRequest, explain
from shared.exits import how_to_get
from shared.home import find_openness, free_bytes, nearest_folder
from shared.imaging import seccomp
from shared.imaging.decoder_client import DECODER_COMMAND
from shared.imaging.sandbox import Sandbox
from shared.listening import check_port
from shared.manifest import read_manifest
from shared.settings import Settings

LOOK_S: Final = 1.0
"""What whoever listens at our port may take to answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    is_fine: bool
    state: str
    is_needed: bool = True

    @property
    def mark(self) -> str:
        """'ok', '--' for an absent option, '!!' for something needed."""
        return "ok" if self.is_fine else "!!" if self.is_needed else "--"


def examine(settings: Settings, decoder_command: Sequence[str] = DECODER_COMMAND) -> list[Finding]:
    """Everything, in the order in which it would stop a start; tests give decoders that do not start."""
    return [*_python(), *_packages(settings), _home(settings), _disk(settings), _broker(settings), _port(settings),
            *_database(settings), *_model(settings), _decoder(decoder_command), _confinement(), _gpu()]  # fmt: skip


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    is_fine = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding("Python", is_fine, version if is_fine else f"{version}; install 3.11, 3.12 or 3.13")


def _packages(settings: Settings) -> Iterator[Finding]:
    """Where the parts share a database of their own, each machine has its part's extra only."""
    engines = ["tensorflow"] if _has_gpu() else ["tensorflow", "openvino"]
    brought = {
        "web": ["flask", "gdcm", "jpeg_ls"],
        "worker": ["celery", *engines],
        "training": ["sklearn", "gdcm", "jpeg_ls"],
    }
    there = {extra: all(map(importlib.util.find_spec, modules)) for extra, modules in brought.items()}
    is_in_parts = settings.database_url is not None and (there["web"] or there["worker"])
    for extra, is_there in there.items():
        state = "installed" if is_there else f"missing: {how_to_get(extra)}"
        yield Finding(f"extra '{extra}'", is_there, state, is_needed=extra != "training" and not is_in_parts)


def _home(settings: Settings) -> Finding:
    is_fine = os.access(nearest_folder(settings.home), os.W_OK)
    state = str(settings.home) if is_fine else f"{settings.home} is not writable; set PLAINFILM_HOME"
    openness = find_openness(settings.home)
    if is_fine and openness:
        return Finding("home", is_fine=False, state=openness, is_needed=False)
    return Finding("home", is_fine, state)


def _disk(settings: Settings) -> Finding:
    free = free_bytes(settings)
    if free < settings.min_free_bytes:
        told = f"{free / 2**30:.1f} GiB free, less than PLAINFILM_MIN_FREE_BYTES: no film would be taken"
        return Finding("disk", is_fine=False, state=told)
    return Finding("disk", is_fine=True, state=f"{free / 2**30:.1f} GiB free")


def _broker(settings: Settings) -> Finding:
    if settings.redis_url is None:
        server = broker.find_server()
        return Finding("broker", server is not None, f"embedded: {server}" if server else broker.HOW_TO_GET_ONE)
    try:
        broker.wait_until_up(settings.redis_url.get_secret_value(), wait_s=2.0)
    except AppError as error:
        return Finding("broker", is_fine=False, state=error.detail)
    return Finding("broker", is_fine=True, state="PLAINFILM_REDIS_URL answers")


def _port(settings: Settings) -> Finding:
    what = f"port {settings.port}"
    try:
        check_port(settings)
    except InvalidRequest as error:
        if settings.running_url == settings.local_url:
            return Finding(what, is_fine=True, state="plainfilm of this home listens there")
        if _is_plainfilm(settings):
            return Finding(what, is_fine=True, state="a web process of plainfilm listens there")
        return Finding(what, is_fine=False, state=error.detail)
    return Finding(what, is_fine=True, state="free")


def _is_plainfilm(settings: Settings) -> bool:
    """Whether what listens answers as our web process does."""
    try:
        address = urlsplit(settings.local_url)
        with closing(HTTPConnection(address.hostname or "", address.port, timeout=LOOK_S)) as connection:
            connection.request("GET", "/livez")
            return connection.getresponse().read(8) == b"ok\n"
    except (OSError, ValueError, HTTPException):
        return False


def _database(settings: Settings) -> Iterator[Finding]:
    if is_missing_file(settings.sql_url):
        yield Finding("database", is_fine=True, state="SQLite, made at the first start")
        return
    try:
        with build_database(settings) as database:
            found = schema.current_revision(database)
            yield _revision(found)
            if found == schema.HEAD:
                yield _films(settings, database)
    except AppError as error:
        yield Finding("database", is_fine=False, state=f"{explain(error)} Check PLAINFILM_DATABASE_URL.")


def _films(settings: Settings, database: Database) -> Finding:
    """Whether the folder is the one that this database's films are in."""
    try:
        FilmFolder(settings.blobs, database).open_to_look()
    except AppError as error:
        if error.detail == UNMARKED:
            return Finding("films", is_fine=True, state="none yet: the web process makes their folder")
        return Finding("films", is_fine=False, state=explain(error))
    return Finding("films", is_fine=True, state=str(settings.blobs))


def _revision(found: str | None) -> Finding:
    """`plainfilm up` migrates by itself, up to what this build knows."""
    if found is None:
        return Finding("database", is_fine=True, state="empty, set up at the first start")
    if found > schema.HEAD:
        told = f"at revision {found}, this build goes up to {schema.HEAD}: install the plainfilm that made it"
        return Finding("database", is_fine=False, state=told)
    if found < schema.HEAD:
        told = f"at revision {found}; `plainfilm up` or `plainfilm db upgrade` brings it to {schema.HEAD}"
        return Finding("database", is_fine=False, state=told, is_needed=False)
    return Finding("database", is_fine=True, state=f"at revision {found}")


def _model(settings: Settings) -> Iterator[Finding]:
    """The folder that is named; the model that ships is there."""
    if settings.model_dir is None:
        return
    try:
        manifest = read_manifest(settings.model_dir)
    except AppError as error:
        yield Finding("model", is_fine=False, state=f"{explain(error)} Check PLAINFILM_MODEL_DIR.")
        return
    yield Finding("model", is_fine=True, state=f"{manifest.name} {manifest.version} in {settings.model_dir}")


def _decoder(command: Sequence[str]) -> Finding:
    """One sample film through a decoder of its own; what a broken one says to its standard error is lost."""
    try:
        with Sandbox(workers=1, command=command) as sandbox:
            film = sandbox.decode(samples.paths()[0].read_bytes())
    except AppError as error:
        how = f"{sys.executable} -I -c 'import shared.imaging.decoder_process'"
        return Finding("decoder", is_fine=False, state=f"{error.detail} To see why: {how}")
    return Finding("decoder", is_fine=True, state=f"reads a film of {film.facts.width_px} x {film.facts.height_px}")


def _confinement() -> Finding:
    is_there = seccomp.is_available()
    state = "decoders are held to few system calls" if is_there else "not there: films are decoded under limits alone"
    return Finding("seccomp", is_there, state, is_needed=False)


def _gpu() -> Finding:
    is_there = _has_gpu()
    found = "NVIDIA driver found: used where the extra 'gpu' stands in the place of 'worker'"
    return Finding("GPU", is_there, found if is_there else "none: the CPU is used", is_needed=False)


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None
