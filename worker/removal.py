"""Removal of many stored films: a film that cannot be removed does not keep the others."""

from __future__ import annotations

from collections.abc import Iterable

from shared.errors import StorageDown
from shared.ports import BlobStore


def remove_films(blobs: BlobStore, refs: Iterable[str]) -> None:
    """Remove these films; after an error go on with the next.

    Raises:
        StorageDown: the error of the last film that could not be removed. Such films are orphans, which a later purge
            removes.
    """
    failed: StorageDown | None = None
    for ref in refs:
        try:
            blobs.delete(ref)
        except StorageDown as error:
            failed = error
    if failed is not None:
        raise failed
