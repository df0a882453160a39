"""The bodies of gunicorn's requests, read past gunicorn's own `read` where that is too slow.

The only module that touches the internals of gunicorn's `Body`, `LengthReader` and unreader; written for gunicorn 27.
Called by `web/bodies.py`, which sets the timeouts.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, TypeGuard

from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import SocketUnreader

DRAINED_BYTES: Final = 256 * 2**20
DRAIN_PIECE_BYTES: Final = 256 * 1024


class BodyCutShort(ParseException):  # type: ignore[misc]  # gunicorn has no types
    """The connection ended within the body; a `ParseException`, as those of gunicorn's own readers."""


def is_untouched(source: object) -> TypeGuard[Body]:
    """Whether `source` is a body of gunicorn's with a promised length, of which nothing has been read."""
    return isinstance(source, Body) and isinstance(source.reader, LengthReader) and not source.buf.tell()


def has_failed(source: object) -> bool:
    """Whether reading a body failed: gunicorn then closes the connection, as it cannot find the next request."""
    return bool(getattr(source, "failed", False))


def mark_failed(source: Any) -> None:  # Any: gunicorn has no types
    """Have gunicorn close the connection of a body after the answer."""
    source.failed = True


def receive_exactly(source: Body, size_bytes: int) -> bytes:
    """Read all `size_bytes` of an untouched body straight from its socket into one buffer.

    gunicorn's and Werkzeug's readers would copy it through four buffers. Any failure, a timeout too, marks the body as
    failed.

    Raises:
        BodyCutShort: the connection ended before.
    """
    try:
        data = _receive(source.reader.unreader, size_bytes)
    except BaseException:
        mark_failed(source)
        raise
    source.reader.length = 0
    return data


def _receive(unreader: SocketUnreader, size_bytes: int) -> bytes:
    """Join the bytes that gunicorn read with the headers and those of the socket; bytes beyond the body stay unread."""
    read_ahead = unreader.take_buffered()
    if len(read_ahead) > size_bytes:
        unreader.unread(read_ahead[size_bytes:])
    data = bytearray(size_bytes)
    filled = min(len(read_ahead), size_bytes)
    data[:filled] = read_ahead[:filled]
    with memoryview(data) as view:
        while filled < size_bytes:
            try:
                count = unreader.sock.recv_into(view[filled:])
            except OSError:
                count = 0
            if not count:
                raise BodyCutShort
            filled += count
    return bytes(data)


def drain_rest(source: Any) -> None:  # Any: gunicorn has no types
    """Drain a refused body in large reads, up to 256 MiB; mark a longer one as failed.

    gunicorn would use 1 KiB reads: 2 s of CPU for a 32 MiB film.
    """
    left = DRAINED_BYTES
    with suppress(ParseException, OSError):
        while left > 0 and (data := source.read(DRAIN_PIECE_BYTES)):
            left -= len(data)
    if left <= 0:
        mark_failed(source)
