"""The composition root of web and worker: each process picks its real adapters here, once.

Commands that need only one or two adapters build those themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import uuid_utils

from shared.db.engine import Database, build_database
from shared.db.film_folder import FilmFolder
from shared.errors import QueueDown
from shared.imaging.decoders import Decoders
from shared.notify import RedisNotifier
from shared.ports import BlobStore, Decoder, IdSource, Notifier, Queue
from shared.queueing import CeleryQueue
from shared.settings import NO_BROKER, Settings
from shared.storage.local import LocalBlobs


def new_job_id() -> str:
    """Return a new UUID version 7 as text."""
    return str(uuid_utils.uuid7())


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything with an effect that the use cases need."""

    settings: Settings
    database: Database
    films: FilmFolder
    blobs: BlobStore
    queue: Queue
    notifier: Notifier
    decoder: Decoder
    new_id: IdSource

    def close(self) -> None:
        """Close everything that holds a connection or a process."""
        self.decoder.close()
        self.queue.close()
        self.notifier.close()
        self.database.close()


def build_resources(settings: Settings) -> Resources:
    """Return the real adapters; none connects before its first use, and the caller opens `films`.

    Raises:
        QueueDown: the settings name no broker and none runs in this home.
    """
    broker_url = settings.broker_url
    if broker_url is None:
        raise QueueDown(NO_BROKER)
    database = build_database(settings)
    films = FilmFolder(settings.blobs, database)
    return Resources(
        settings=settings,
        database=database,
        films=films,
        blobs=LocalBlobs(settings.blobs, films.check),
        queue=CeleryQueue(broker_url),
        notifier=RedisNotifier(broker_url),
        decoder=Decoders(workers=settings.decoders),
        new_id=new_job_id,
    )
