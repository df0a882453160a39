"""One POST to an address that a tenant gave: only to checked IP addresses, with a deadline and a limit on the answer.

httpcore speaks HTTP and TLS; request and certificate check use the host's name, and only the connection is ours: to an
IP address that was checked. No redirect is followed, no proxy is used, no cookie is kept, and of the answer only the
headers are read, up to `HEAD_BYTES`, informational (1xx) responses included.
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
"""From the resolved name to the end of the answer's headers."""

HEAD_BYTES: Final = 100 * 2**10
"""httpcore's own limit is for one response's headers, and any number of 1xx responses may precede the last."""

RESOLVE_S: Final = 30.0
"""A name that takes longer to resolve is not used: the lease could end meanwhile, and another dispatcher could send."""

AGENT: Final = "plainfilm-webhooks"

ADDRESS_REFUSED: Final = "address_refused"
UNRESOLVED: Final = "unresolved"
CONNECT_FAILED: Final = "connect_failed"
TLS_FAILED: Final = "tls_failed"
TIMED_OUT: Final = "timed_out"
BROKEN_ANSWER: Final = "broken_answer"


class AddressRefused(Exception):
    """The host resolves to an address that is not of the public internet."""


class Unresolved(Exception):
    """The host does not resolve."""


class TlsFailed(httpcore.ConnectError):
    """The TLS handshake failed, or the certificate is not valid for the host."""


FAULTS: Final = (
    InvalidRequest, AddressRefused, Unresolved,
    httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError,
)  # fmt: skip
"""The errors of a try without an answer; see `_code`."""


class Poster:
    """Sends deliveries; one object serves all threads.

    Args:
        resolve: finds a host's addresses.
        allow_private: whether addresses outside the public internet are allowed too.
        tls: checks certificates; by the system's authorities unless given.
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
        """Send `body`, JSON; every outcome, errors included, is an `Answer`."""
        started_at = time.monotonic()
        status, error = None, None
        try:
            status = self._ask(url, {"Content-Type": "application/json", "User-Agent": AGENT, **headers}, body)
        except FAULTS as fault:
            error = _code(fault)
        return Answer(status, error, round(1000 * (time.monotonic() - started_at)))

    def _ask(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        check_url(url, allow_private=self._allow_private)  # once more: the operator may have changed the setting
        backend = _CheckedBackend(self._resolve, self._whole_s, allow_private=self._allow_private)
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"  # httpcore's own parser drops ;params
        address = httpcore.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target=target)
        with httpcore.ConnectionPool(
            ssl_context=self._tls, max_connections=1, max_keepalive_connections=0, retries=0, network_backend=backend
        ) as pool:
            all_headers = {"Host": parts.netloc, **headers}
            encoded = [(name.encode("ascii"), value.encode("ascii")) for name, value in all_headers.items()]
            with pool.stream("POST", address, headers=encoded, content=body) as response:
                return response.status


def _code(error: Exception) -> str:
    if isinstance(error, InvalidRequest | AddressRefused):
        return ADDRESS_REFUSED
    if isinstance(error, Unresolved):
        return UNRESOLVED
    if isinstance(error, httpcore.TimeoutException):
        return TIMED_OUT
    if isinstance(error, TlsFailed):
        return TLS_FAILED
    return CONNECT_FAILED if isinstance(error, httpcore.ConnectError) else BROKEN_ANSWER


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects to the addresses that a host's name resolves to; all are checked before the first is tried."""

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
        """Return a connection to the first address that accepts one.

        Raises:
            Unresolved, AddressRefused: see there.
            httpcore.ConnectError, httpcore.ConnectTimeout: no address accepts one.
        """
        del timeout
        addresses = self._find_addresses(host, port)
        end = time.monotonic() + self._whole_s
        last_error: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                stream = httpcore.SyncBackend().connect_tcp(
                    address, port, min(CONNECT_S, _left_s(end)), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last_error = error
            else:
                return _BoundedStream(stream, end)
        raise last_error

    def _find_addresses(self, host: str, port: int) -> list[str]:
        started_at = time.monotonic()
        try:
            addresses = list(self._resolve(host, port))
        except (OSError, UnicodeError) as error:
            raise Unresolved from error
        if time.monotonic() - started_at > RESOLVE_S:
            raise httpcore.ConnectTimeout("its name was found too late")
        if not self._allow_private and not all(map(is_public, addresses)):
            raise AddressRefused
        return addresses


class _BoundedStream(httpcore.NetworkStream):
    """A connection with a deadline, however slowly its bytes arrive, and with a limit of `HEAD_BYTES` received."""

    def __init__(self, stream: httpcore.NetworkStream, end: float) -> None:
        self._stream = stream
        self._end = end
        self._left_bytes = HEAD_BYTES

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read as httpcore's stream does, until the deadline at most.

        Raises:
            httpcore.ReadError: the answer's headers exceed `HEAD_BYTES`.
        """
        del timeout
        if self._left_bytes <= 0:
            raise httpcore.ReadError("its head has no end")
        data = self._stream.read(min(max_bytes, self._left_bytes), _left_s(self._end))
        self._left_bytes -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write as httpcore's stream does, until the deadline at most."""
        del timeout
        self._stream.write(buffer, _left_s(self._end))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Return the same connection, encrypted, with the same deadline.

        Raises:
            TlsFailed: see there.
        """
        del timeout
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, _left_s(self._end))
        except httpcore.ConnectError as error:
            raise TlsFailed(str(error)) from error
        return _BoundedStream(stream, self._end)

    def get_extra_info(self, info: str) -> Any:  # Any: httpcore's own
        """Return the information about the stream that httpcore asks for."""
        return self._stream.get_extra_info(info)


def _left_s(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("its time is over")
    return left
