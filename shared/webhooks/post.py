"""One POST to an address that somebody else named: to checked machines alone, for a short time, and little is read.

httpcore speaks HTTP and TLS; the host's name stays in the request, the certificate is checked for it, and only the
connection is ours: to an address that was looked at. No redirect is followed, no proxy is asked, no cookie is kept, and
of the answer the head alone is read, up to `HEAD_BYTES`, with all that announces it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

from shared.db.deliveries import Answer
from shared.errors import InvalidRequest
from shared.webhooks.targets import Resolve, check_url, is_public

CONNECT_S: Final = 5.0
WHOLE_S: Final = 15.0
"""From the resolved name to the answer's head."""

HEAD_BYTES: Final = 100 * 2**10
"""httpcore's own limit is of one head, and any number may come before the last, each with a status of 1xx."""

RESOLVE_S: Final = 30.0
"""A name that is found later is not sent to: the lease could end meanwhile, and another dispatcher begin."""

AGENT: Final = "plainfilm-webhooks"

ADDRESS_REFUSED: Final = "address_refused"
UNRESOLVED: Final = "unresolved"
CONNECT_FAILED: Final = "connect_failed"
TLS_FAILED: Final = "tls_failed"
TIMED_OUT: Final = "timed_out"
BROKEN_ANSWER: Final = "broken_answer"


class AddressRefused(Exception):
    """The host leads to a machine that is not of the public internet."""


class Unresolved(Exception):
    """The host leads nowhere."""


class TlsFailed(httpcore.ConnectError):
    """No connection that is encrypted, and to who the certificate says."""


FAULTS: Final = (
    InvalidRequest, AddressRefused, Unresolved,
    httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError,
)  # fmt: skip
"""Why a try has no answer; see `_name`."""


class Poster:
    """Sends; one for all threads.

    Args:
        resolve: finds a host's addresses.
        allow_private: whether machines beside those of the public internet may be sent to.
        tls: what certificates are checked by; the system's authorities unless given.
        whole_s: how long a try may take.
    """

    def __init__(
        self, resolve: Resolve, *, allow_private: bool, tls: ssl.SSLContext | None = None, whole_s: float = WHOLE_S
    ) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._whole_s = whole_s
        self._tls = tls or ssl.create_default_context()

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send `body`, JSON; whatever happens is an answer."""
        began = time.monotonic()
        status, error = None, None
        try:
            status = self._ask(url, {"Content-Type": "application/json", "User-Agent": AGENT, **headers}, body)
        except FAULTS as found:
            error = _name(found)
        return Answer(status, error, round(1000 * (time.monotonic() - began)))

    def _ask(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        check_url(url, allow_private=self._allow_private)  # once more: the operator may have changed its mind since
        backend = _Checked(self._resolve, self._whole_s, allow_private=self._allow_private)
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"  # httpcore's own parser drops ;params
        where = httpcore.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target=target)
        with httpcore.ConnectionPool(
            ssl_context=self._tls, max_connections=1, max_keepalive_connections=0, retries=0, network_backend=backend
        ) as pool:
            told = {"Host": parts.netloc, **headers}
            given = [(name.encode("ascii"), value.encode("ascii")) for name, value in told.items()]
            with pool.stream("POST", where, headers=given, content=body) as response:
                return response.status


def _name(error: Exception) -> str:
    if isinstance(error, InvalidRequest | AddressRefused):
        return ADDRESS_REFUSED
    if isinstance(error, Unresolved):
        return UNRESOLVED
    if isinstance(error, httpcore.TimeoutException):
        return TIMED_OUT
    if isinstance(error, TlsFailed):
        return TLS_FAILED
    return CONNECT_FAILED if isinstance(error, httpcore.ConnectError) else BROKEN_ANSWER


class _Checked(httpcore.NetworkBackend):
    """Connects to the addresses that a host's name leads to, each looked at before the first is tried."""

    def __init__(self, resolve: Resolve, whole_s: float, *, allow_private: bool) -> None:
        self._resolve = resolve
        self._whole_s = whole_s
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """The first that answers.

        Raises:
            Unresolved, AddressRefused: see there.
            httpcore.ConnectError, httpcore.ConnectTimeout: none answers.
        """
        del timeout
        addresses = self._find(host, port)
        end = time.monotonic() + self._whole_s
        failed: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                stream = httpcore.SyncBackend().connect_tcp(
                    address, port, min(CONNECT_S, _left_s(end)), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _Bounded(stream, end)
        raise failed

    def _find(self, host: str, port: int) -> list[str]:
        began = time.monotonic()
        try:
            addresses = list(self._resolve(host, port))
        except (OSError, UnicodeError) as error:
            raise Unresolved from error
        if time.monotonic() - began > RESOLVE_S:
            raise httpcore.ConnectTimeout("its name was found too late")
        if not self._allow_private and not all(map(is_public, addresses)):
            raise AddressRefused
        return addresses


class _Bounded(httpcore.NetworkStream):
    """A connection that ends at one moment, however slowly its bytes come, and after so many of them."""

    def __init__(self, stream: httpcore.NetworkStream, end: float) -> None:
        self._stream = stream
        self._end = end
        self._left_bytes = HEAD_BYTES

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As httpcore's; at the most until the end.

        Raises:
            httpcore.ReadError: more comes than is read.
        """
        del timeout
        if self._left_bytes <= 0:
            raise httpcore.ReadError("its head has no end")
        data = self._stream.read(min(max_bytes, self._left_bytes), _left_s(self._end))
        self._left_bytes -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Likewise."""
        del timeout
        self._stream.write(buffer, _left_s(self._end))

    def close(self) -> None:
        """End it."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection, encrypted, until the same moment.

        Raises:
            TlsFailed: see there.
        """
        del timeout
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, _left_s(self._end))
        except httpcore.ConnectError as error:
            raise TlsFailed(str(error)) from error
        return _Bounded(stream, self._end)

    def get_extra_info(self, info: str) -> Any:  # Any: httpcore's own
        """What httpcore asks about."""
        return self._stream.get_extra_info(info)


def _left_s(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("its time is over")
    return left
