"""Request bodies: held in memory only, under the process's `Budget`, and each with a deadline.

All code that reads a body, Flask's form parser included, reads it through `BoundedRequest.stream`, which counts it
against the budget from its first read until the request is closed: by its promised length, else by what has come.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from io import BytesIO
from typing import IO, Any, Final

from flask import Flask, Request, Response, current_app, request
from gunicorn.http.errors import ParseException
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.utils import cached_property, environ_property
from werkzeug.wsgi import LimitedStream

from shared import greenlets
from shared.errors import Malformed, TooLarge, TooSlow
from web import gunicorn_body
from web.upload_budget import Budget

BUDGET: Final = "plainfilm-body-budget"
"""Key of the `Budget` in the application's `extensions`."""

FORM: Final = "multipart/form-data"

GRACE_S = 30.0
SLOWEST_BYTES_PER_S: Final = 256 * 1024
"""The deadline of a body is `GRACE_S` plus its transfer time at this rate."""

DRAIN_S: Final = 15.0
"""How long the rest of a refused body is drained: most clients read no answer before they have sent all of it."""


class BodyStream(LimitedStream):
    """A body up to its promised length, or up to `most_bytes` if it is chunked, with a deadline from its first read.

    Reading raises:
        UploadsFull: the budget has too little left now.
        TooSlow: the deadline has passed; gunicorn closes the connection after the answer.
        Malformed: the connection ended within the body.
        TooLarge: the body is chunked and longer than `most_bytes`.
    """

    def __init__(
        self, source: IO[bytes], length: int | None, most_bytes: int, largest_bytes: int, hold: Callable[[int], None]
    ) -> None:
        super().__init__(source, most_bytes if length is None else length, is_max=length is None)
        self.has_length = length is not None
        self.largest_bytes = largest_bytes
        self.hold = hold
        self.hasher: hashlib._Hash | None = None
        self.ends_at: float | None = None

    def readinto(self, b: Any) -> int | None:  # Any: as the base has it, a buffer
        """Read as the base class does, before the deadline, and hash the bytes if the body is to be hashed."""
        try:
            with self._before_deadline():
                size = super().readinto(b)
        except ParseException:
            raise cut_short_error() from None
        if size and not self.has_length:
            self.hold(size)
        if self.hasher and size:
            self.hasher.update(memoryview(b)[:size])
        return size

    def sha256(self) -> str | None:
        """Return the SHA-256 of the bytes read so far, in hex; None if the body is not hashed."""
        return self.hasher.hexdigest() if self.hasher else None

    def read_whole(self) -> bytes:
        """Read the whole body; straight from gunicorn's socket where its length is promised and nothing was read."""
        source: object = self._stream
        if self.hasher or not self.has_length or self._pos or not gunicorn_body.is_untouched(source):
            return self.readall()
        try:
            with self._before_deadline():
                data = gunicorn_body.receive_exactly(source, self.limit)
        except ParseException:
            raise cut_short_error() from None
        self._pos = self.limit
        return data

    def on_exhausted(self) -> None:
        """Refuse a chunked body that goes on after the limit; the base class calls this for a read there."""
        if not self.has_length:
            raise too_large_error(self.largest_bytes)

    def on_disconnect(self, error: Exception | None = None) -> None:
        """Refuse a body that ended before its promised length; the base class calls this for an empty read."""
        if self.has_length or error is not None:
            raise cut_short_error()

    def _before_deadline(self) -> AbstractContextManager[object]:
        if self.ends_at is None:
            if self.has_length:
                self.hold(self.limit)
            self.ends_at = time.monotonic() + GRACE_S + self.limit / SLOWEST_BYTES_PER_S
        return limit_time(self.ends_at - time.monotonic(), too_slow_error())


class BoundedRequest(Request):
    """A request whose body counts against the application's budget from its first read until `close`."""

    held_bytes = 0
    is_terminated = environ_property[object]("wsgi.input_terminated")
    gunicorn_socket = environ_property[object]("gunicorn.socket")

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body as a stream that can be read once.

        Raises:
            TooLarge: the promised length is too large.
        """
        length, most, largest = self.content_length, self.max_content_length or 0, _budget().largest_bytes
        if length is None and not self.is_terminated:
            return BytesIO()
        if length is not None and length > most:
            raise too_large_error(largest)
        stream = BodyStream(self.input_stream, length, most, largest, self._hold)
        if self.mimetype == FORM and "Content-Digest" in self.headers:  # the digest is of the whole form
            stream.hasher = hashlib.sha256()
        return stream  # type: ignore[return-value]  # as in Werkzeug

    def _load_form_data(self) -> None:
        """Parse a form; Werkzeug reports each of its own limits as a body that is too large.

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

    def _get_file_stream(self, *_args: object, **_kwargs: object) -> IO[bytes]:
        """Return a buffer for a file part of a form; Werkzeug would write more than 500 KB to a temporary file."""
        return BytesIO()

    def close(self) -> None:
        """Release the body and its bytes in the budget; Flask calls this at the end of each request."""
        super().close()
        if self.held_bytes:
            _budget().give_back(self.held_bytes)
            self.held_bytes = 0

    def _hold(self, size_bytes: int) -> None:
        """Count bytes of the body; one that is larger than the budget, as a form may be, counts as all of it."""
        budget = _budget()
        size = min(size_bytes, budget.limit_bytes - self.held_bytes)
        budget.take(size)
        self.held_bytes += size

    def drain_rest(self) -> None:
        """Read and discard the rest of the body for up to `DRAIN_S`, so that the client reads the answer."""
        with suppress(TooSlow), limit_time(DRAIN_S, TooSlow("")):
            gunicorn_body.drain_rest(self.input_stream)


def register(app: Flask, budget: Budget) -> None:
    """Have all requests of `app` read their bodies under `budget`, and drain refused bodies after the answer."""
    app.request_class = BoundedRequest
    app.extensions[BUDGET] = budget

    @app.after_request
    def _drain_rest(response: Response) -> Response:
        if isinstance(request, BoundedRequest) and has_rest(request):
            response.call_on_close(request.drain_rest)
        return response


def has_rest(bounded: BoundedRequest) -> bool:
    """Whether gunicorn has unread bytes of a request's body: nothing read it, or it was refused while it was read."""
    if bounded.gunicorn_socket is None or gunicorn_body.has_failed(bounded.input_stream):
        return False
    stream = bounded.__dict__.get("stream")  # without creating it
    if isinstance(stream, BodyStream):
        return not stream.is_exhausted
    return bool(bounded.content_length) or "Transfer-Encoding" in bounded.headers


def limit_time(seconds: float, error: Exception) -> AbstractContextManager[object]:
    """Return a block that raises `error` after `seconds`; no limit without gevent, which gunicorn runs us under."""
    if not greenlets.is_under_gevent():
        return nullcontext()
    import gevent  # noqa: PLC0415  only where gevent already runs

    timeout: AbstractContextManager[object] = gevent.Timeout(max(0.0, seconds), error)
    return timeout


def contents(part: FileStorage) -> bytes:
    """Return the bytes of a form's file part, without a copy where they are in memory."""
    return part.stream.getvalue() if isinstance(part.stream, BytesIO) else part.read()


def too_slow_error() -> TooSlow:
    """Return the refusal of a body that missed its deadline."""
    return TooSlow("The upload took too long; send it again over a faster connection.")


def too_large_error(limit_bytes: int) -> TooLarge:
    """Return the refusal of a film of more than `limit_bytes`."""
    return TooLarge(f"The file is larger than {limit_bytes} bytes; send a smaller copy.")


def cut_short_error() -> Malformed:
    """Return the refusal of a body whose connection ended within it."""
    return Malformed("The upload ended before all of its bytes arrived; send it again.")


def _budget() -> Budget:
    budget: Budget = current_app.extensions[BUDGET]
    return budget
