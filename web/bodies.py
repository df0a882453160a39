"""The bodies of requests: in memory only, so many bytes of them at a time in a process, and each in time.

Whatever reads a body, Flask's form parser included, reads it through `BoundedRequest.stream`, which counts it against
the process's `Budget` until the request is closed.
"""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, Any, Final, TypeGuard

from flask import Flask, Request, Response, current_app, request
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import SocketUnreader
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.utils import cached_property, environ_property
from werkzeug.wsgi import LimitedStream

from shared import greenlets
from shared.errors import Malformed, TooLarge, TooSlow, UploadsFull

BUDGET: Final = "plainfilm-body-budget"
"""Where the application keeps its `Budget`."""

FORM: Final = "multipart/form-data"

GRACE_S = 30.0
SLOWEST_BYTES_PER_S: Final = 256 * 1024
"""A body may take `GRACE_S`, and as long as it takes at this pace."""

SKIP_S: Final = 15.0
SKIP_BYTES: Final = 256 * 2**20
SKIP_PIECE_BYTES: Final = 256 * 1024
"""How long, how much and by how much the rest of a refused body is read, so that its client reads the answer."""


@dataclass(slots=True)
class Budget:
    """The bytes of bodies that a process takes at a time; `largest_bytes` is what one may have."""

    limit_bytes: int
    largest_bytes: int
    held_bytes: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def take(self, size_bytes: int) -> None:
        """Count a body before it is read.

        Raises:
            UploadsFull: there is no room for it now.
        """
        with self._guard:
            if self.held_bytes + size_bytes > self.limit_bytes:
                raise UploadsFull("The service is taking in as many uploads as it can; send it again in a moment.")
            self.held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Its bytes are let go of."""
        with self._guard:
            self.held_bytes -= size_bytes


class BodyStream(LimitedStream):
    """A body up to its promised length, or up to `most_bytes` where it promises none; read in time or not at all.

    Reading raises:
        TooSlow: its time is over; gunicorn closes the connection after the answer.
        Malformed: it ended before its end.
        TooLarge: it promised no length, and is too long.
    """

    def __init__(self, source: IO[bytes], length: int | None, most_bytes: int, largest_bytes: int) -> None:
        super().__init__(source, most_bytes if length is None else length, is_max=length is None)
        self.has_length = length is not None
        self.largest_bytes = largest_bytes
        self.hasher: hashlib._Hash | None = None
        self.ends_at = time.monotonic() + GRACE_S + self.limit / SLOWEST_BYTES_PER_S

    def readinto(self, b: Any) -> int | None:  # Any: as the base has it, a buffer
        """As the base, in time."""
        try:
            with in_time(self.ends_at - time.monotonic(), too_slow()):
                size = super().readinto(b)
        except ParseException:
            raise cut_short() from None
        if self.hasher and size:
            self.hasher.update(memoryview(b)[:size])
        return size

    def sha256(self) -> str | None:
        """In hex, of what was read, for a body that was hashed on its way."""
        return self.hasher.hexdigest() if self.hasher else None

    def read_whole(self) -> bytes:
        """All of a body; where its length is promised, and nothing of it was read, straight from gunicorn's socket.

        Read through gunicorn and Werkzeug it goes through four buffers on its way.
        """
        source: object = self._stream
        if self.hasher or not self.has_length or self._pos or not _is_untouched(source):
            return self.readall()
        try:
            with in_time(self.ends_at - time.monotonic(), too_slow()):
                data = _receive(source.reader.unreader, self.limit)
        except BaseException:
            source.failed = True
            raise
        source.reader.length = 0
        self._pos = self.limit
        return data

    def on_exhausted(self) -> None:
        """Called by the base for a read behind the limit."""
        if not self.has_length:
            raise too_large(self.largest_bytes)

    def on_disconnect(self, error: Exception | None = None) -> None:
        """Called by the base where nothing came before the limit."""
        if self.has_length or error is not None:
            raise cut_short()


class BoundedRequest(Request):
    """A request whose body is under the application's budget from its first read until `close`."""

    held_bytes = 0
    is_terminated = environ_property[object]("wsgi.input_terminated")
    gunicorn_socket = environ_property[object]("gunicorn.socket")

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body, for one reading.

        Raises:
            TooLarge: it promises to be.
            UploadsFull: the process takes in as much as it may.
        """
        length, most, budget = self.content_length, self.max_content_length or 0, _budget()
        if length is None and not self.is_terminated:
            return BytesIO()
        if length is not None and length > most:
            raise too_large(budget.largest_bytes)
        size = min(most if length is None else length, budget.limit_bytes)
        budget.take(size)
        self.held_bytes = size
        stream = BodyStream(self.input_stream, length, most, budget.largest_bytes)
        if self.mimetype == FORM and "Content-Digest" in self.headers:  # which is of the whole form
            stream.hasher = hashlib.sha256()
        return stream  # type: ignore[return-value]  # so does Werkzeug

    def _load_form_data(self) -> None:
        """Werkzeug's parsing of a form; it calls each limit of its own a body that is too large.

        Raises:
            Malformed: a text of more than 256 KiB, or more than 8 parts.
        """
        try:
            super()._load_form_data()
        except RequestEntityTooLarge:
            text_kib, parts = (self.max_form_memory_size or 0) // 1024, self.max_form_parts
            raise Malformed(
                f"The form has a text of more than {text_kib} KiB, or more than {parts} parts; "
                "send the film as a file part with a filename, named 'file'."
            ) from None

    def _get_file_stream(self, *_facts: object, **_more: object) -> IO[bytes]:
        """Werkzeug's hook for a part of a form: it would write one of more than 500 KB to a temporary file."""
        return BytesIO()

    def close(self) -> None:
        """Let the body go; Flask does at the end."""
        super().close()
        if self.held_bytes:
            _budget().give_back(self.held_bytes)
            self.held_bytes = 0

    def skip_rest(self) -> None:
        """Read on for a while, keeping nothing: gunicorn would, by the KiB, for 2 s of CPU a refused film of 32 MiB."""
        source: Any = self.input_stream  # gunicorn's own, which has `failed`
        left = SKIP_BYTES
        with suppress(TooSlow, ParseException, OSError), in_time(SKIP_S, TooSlow("")):
            while left > 0 and (data := source.read(SKIP_PIECE_BYTES)):
                left -= len(data)
        if left <= 0:
            source.failed = True  # gunicorn closes a connection whose body is in this state


def register(app: Flask, budget: Budget) -> None:
    """Have every request of `app` read its body so, and the rest of a refused one skipped after the answer."""
    app.request_class = BoundedRequest
    app.extensions[BUDGET] = budget

    @app.after_request
    def _skip_rest(response: Response) -> Response:
        if isinstance(request, BoundedRequest) and has_rest(request):
            response.call_on_close(request.skip_rest)
        return response


def has_rest(asked: BoundedRequest) -> bool:
    """Whether gunicorn still has some of its body to read: nobody wanted it, or it was refused on its way."""
    if asked.gunicorn_socket is None or getattr(asked.input_stream, "failed", False):
        return False
    stream = asked.__dict__.get("stream")
    if isinstance(stream, BodyStream):
        return not stream.is_exhausted
    return bool(asked.content_length) or "Transfer-Encoding" in asked.headers


def in_time(seconds: float, late: Exception) -> AbstractContextManager[object]:
    """Raises `late` where what is inside waits for longer than `seconds`; only under gevent, as gunicorn runs us."""
    if not greenlets.is_under_gevent():
        return nullcontext()
    import gevent  # noqa: PLC0415  only where gevent already runs

    limit: AbstractContextManager[object] = gevent.Timeout(max(0.0, seconds), late)
    return limit


def contents(part: FileStorage) -> bytes:
    """The bytes of a part, without a copy."""
    return part.stream.getvalue() if isinstance(part.stream, BytesIO) else part.read()


def _is_untouched(source: object) -> TypeGuard[Body]:
    """Whether it is a body of gunicorn's, of a promised length, that nobody has read of."""
    return isinstance(source, Body) and isinstance(source.reader, LengthReader) and not source.buf.tell()


def _receive(unreader: SocketUnreader, size_bytes: int) -> bytes:
    """So many bytes: what gunicorn has read of them with the head, then what comes; what follows them stays there.

    Raises:
        Malformed: the connection ended before.
    """
    read = unreader.take_buffered()
    if len(read) > size_bytes:
        unreader.unread(read[size_bytes:])
    data = bytearray(size_bytes)
    at = min(len(read), size_bytes)
    data[:at] = read[:at]
    with memoryview(data) as view:
        while at < size_bytes:
            try:
                came = unreader.sock.recv_into(view[at:])
            except OSError:
                came = 0
            if not came:
                raise cut_short()
            at += came
    return bytes(data)


def too_slow() -> TooSlow:
    """The refusal of a body that takes too long."""
    return TooSlow("The upload did not come in time; send it again over a faster connection.")


def too_large(limit_bytes: int) -> TooLarge:
    """The refusal of a film with more bytes than that."""
    return TooLarge(f"The file is larger than {limit_bytes} bytes; send a smaller copy.")


def cut_short() -> Malformed:
    """The refusal of a body that ended on its way."""
    return Malformed("The upload ended before all of its bytes came; send it again.")


def _budget() -> Budget:
    budget: Budget = current_app.extensions[BUDGET]
    return budget
