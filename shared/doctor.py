"""`plainfilm doctor`: checks this machine and home, and says what is missing and how to get it. Changes nothing."""

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
from shared.db.engine import NO_CHANGES, Database, build_database, is_missing_file
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

PROBE_TIMEOUT_S: Final = 1.0
"""For the process that listens at our port to answer."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check: its subject, whether it is fine, and its state in words."""

    subject: str
    is_fine: bool
    state: str
    is_needed: bool = True

    @property
    def mark(self) -> str:
        """'ok', '--' for an optional part that is absent, '!!' for a needed one."""
        return "ok" if self.is_fine else "!!" if self.is_needed else "--"


def examine(settings: Settings, decoder_command: Sequence[str] = DECODER_COMMAND) -> list[Check]:
    """Check everything, in the order in which a start would fail; tests give decoders that do not start."""
    return [*_python(), *_packages(settings), _home(settings), _disk(settings), _broker(settings), _port(settings),
            *_database(settings), *_model(settings), _decoder(decoder_command), _confinement(), _gpu()]  # fmt: skip


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    is_fine = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Check("Python", is_fine, version if is_fine else f"{version}; install 3.11, 3.12 or 3.13")


def _packages(settings: Settings) -> Iterator[Check]:
    """Check the extras; where parts on several machines share a database, each needs its own extra only."""
    engines = ["tensorflow"] if _has_gpu() else ["tensorflow", "openvino"]
    modules_by_extra = {
        "web": ["flask", "gdcm", "jpeg_ls"],
        "worker": ["celery", *engines],
        "training": ["sklearn", "gdcm", "jpeg_ls"],
    }
    installed = {extra: all(map(importlib.util.find_spec, modules)) for extra, modules in modules_by_extra.items()}
    is_in_parts = settings.database_url is not None and (installed["web"] or installed["worker"])
    for extra, is_installed in installed.items():
        state = "installed" if is_installed else f"missing: {how_to_get(extra)}"
        yield Check(f"extra '{extra}'", is_installed, state, is_needed=extra != "training" and not is_in_parts)


def _home(settings: Settings) -> Check:
    is_fine = os.access(nearest_folder(settings.home), os.W_OK)
    state = str(settings.home) if is_fine else f"{settings.home} is not writable; set PLAINFILM_HOME"
    openness = find_openness(settings.home)
    if is_fine and openness:
        return Check("home", is_fine=False, state=openness, is_needed=False)
    return Check("home", is_fine, state)


def _disk(settings: Settings) -> Check:
    free = free_bytes(settings)
    if free < settings.min_free_bytes:
        state = f"{free / 2**30:.1f} GiB free, less than PLAINFILM_MIN_FREE_BYTES: films would be refused"
        return Check("disk", is_fine=False, state=state)
    return Check("disk", is_fine=True, state=f"{free / 2**30:.1f} GiB free")


def _broker(settings: Settings) -> Check:
    if settings.redis_url is None:
        server = broker.find_server()
        return Check("broker", server is not None, f"embedded: {server}" if server else broker.HOW_TO_GET_ONE)
    try:
        broker.wait_until_up(settings.redis_url.get_secret_value(), wait_s=2.0)
    except AppError as error:
        return Check("broker", is_fine=False, state=error.detail)
    return Check("broker", is_fine=True, state="PLAINFILM_REDIS_URL answers")


def _port(settings: Settings) -> Check:
    subject = f"port {settings.port}"
    try:
        check_port(settings)
    except InvalidRequest as error:
        if settings.running_url == settings.local_url:
            return Check(subject, is_fine=True, state="plainfilm of this home listens there")
        if _is_plainfilm(settings):
            return Check(subject, is_fine=True, state="a web process of plainfilm listens there")
        return Check(subject, is_fine=False, state=error.detail)
    return Check(subject, is_fine=True, state="free")


def _is_plainfilm(settings: Settings) -> bool:
    """Whether the process that listens at the port answers as our web process does."""
    try:
        address = urlsplit(settings.local_url)
        with closing(HTTPConnection(address.hostname or "", address.port, timeout=PROBE_TIMEOUT_S)) as connection:
            connection.request("GET", "/livez")
            return connection.getresponse().read(8) == b"ok\n"
    except (OSError, ValueError, HTTPException):
        return False


def _database(settings: Settings) -> Iterator[Check]:
    if is_missing_file(settings.sql_url):
        yield Check("database", is_fine=True, state="SQLite, made at the first start")
        return
    try:
        with build_database(settings) as database:
            revision = schema.current_revision(database)
            if schema.takes_changes(database):
                yield _revision(revision)
            else:
                yield Check("database", is_fine=False, state=f"{NO_CHANGES}: films are refused")
            if revision == schema.HEAD:
                yield _films(settings, database)
    except AppError as error:
        said = explain(error)
        hint = "" if "PLAINFILM_DATABASE_URL" in said else " Check PLAINFILM_DATABASE_URL."
        yield Check("database", is_fine=False, state=f"{said}{hint}")


def _films(settings: Settings, database: Database) -> Check:
    """Check that the folder is the one of this database's films, and takes changes."""
    try:
        FilmFolder(settings.blobs, database).open_to_look()
    except AppError as error:
        if error.detail == UNMARKED:
            return Check("films", is_fine=True, state="none yet: the web process makes their folder")
        return Check("films", is_fine=False, state=explain(error))
    if not os.access(settings.blobs, os.W_OK):
        return Check("films", is_fine=False, state=f"{settings.blobs} is not writable: films are refused")
    return Check("films", is_fine=True, state=str(settings.blobs))


def _revision(revision: str | None) -> Check:
    """Check the schema's revision: `plainfilm up` migrates an older one up to this build's."""
    if revision is None:
        return Check(
            "database", is_fine=True, state="empty; the first `plainfilm up`, or `plainfilm db upgrade`, sets it up"
        )
    if revision > schema.HEAD:
        state = f"at revision {revision}, this build goes up to {schema.HEAD}: install the plainfilm that made it"
        return Check("database", is_fine=False, state=state)
    if revision < schema.HEAD:
        state = f"at revision {revision}; `plainfilm up` or `plainfilm db upgrade` brings it to {schema.HEAD}"
        return Check("database", is_fine=False, state=state, is_needed=False)
    return Check("database", is_fine=True, state=f"at revision {revision}")


def _model(settings: Settings) -> Iterator[Check]:
    """Check the folder that the settings name; the shipped model is always there."""
    if settings.model_dir is None:
        return
    try:
        manifest = read_manifest(settings.model_dir)
    except AppError as error:
        yield Check("model", is_fine=False, state=f"{explain(error)} Check PLAINFILM_MODEL_DIR.")
        return
    yield Check("model", is_fine=True, state=f"{manifest.name} {manifest.version} in {settings.model_dir}")


def _decoder(command: Sequence[str]) -> Check:
    """Decode one sample film in a new decoder; the standard error of one that fails is not kept."""
    try:
        with Sandbox(workers=1, command=command) as sandbox:
            film = sandbox.decode(samples.paths()[0].read_bytes())
    except AppError as error:
        command_line = f"{sys.executable} -I -c 'import shared.imaging.decoder_process'"
        return Check("decoder", is_fine=False, state=f"{error.detail} To see why: {command_line}")
    return Check("decoder", is_fine=True, state=f"reads a film of {film.facts.width_px} x {film.facts.height_px}")


def _confinement() -> Check:
    is_available = seccomp.is_available()
    state = (
        "decoders are limited to a few system calls" if is_available else "unavailable: decoders run under limits only"
    )
    return Check("seccomp", is_available, state, is_needed=False)


def _gpu() -> Check:
    has_gpu = _has_gpu()
    state = "NVIDIA driver found: used if the extra 'gpu' is installed in place of 'worker'"
    return Check("GPU", has_gpu, state if has_gpu else "none: the CPU is used", is_needed=False)


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None
