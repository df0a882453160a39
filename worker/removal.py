"""Many stored films are removed: one that cannot be keeps none of the others."""

from __future__ import annotations

from collections.abc import Iterable

from shared.errors import StorageDown
from shared.ports import BlobStore


def remove_films(blobs: BlobStore, refs: Iterable[str]) -> None:
    """Try each.

    Raises:
        StorageDown: the last that could not be removed; what stays is an orphan, for a later pass.
    """
    failed: StorageDown | None = None
    for ref in refs:
        try:
            blobs.delete(ref)
        except StorageDown as error:
            failed = error
    if failed is not None:
        raise failed
