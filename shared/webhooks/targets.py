"""The allowed targets of webhooks: which URLs an admin may give, and which IP addresses a name may resolve to.

A tenant's admin names the URL, and the service sends to it from inside its own network: so only addresses of the public
internet are allowed (SSRF), unless the service's operator allows others. Names are resolved at each try, and `post`
connects to the checked IP address, so that DNS rebinding is of no use.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from shared.errors import InvalidRequest, WebhooksOff
from shared.settings import Settings

Resolve = Callable[[str, int], Sequence[str]]
"""Host and port to addresses; raises OSError or UnicodeError where there are none."""

GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""All that IANA has assigned as global unicast; outside it are NAT64 and other ways to IPv4 addresses."""

NOT_GLOBAL: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv4Network("168.63.129.16/32"))
"""Global to some versions of Python, but not public: protocol assignments, 6to4 relays, Azure's host address."""

PLAIN: Final = re.compile(r"[!-~]+")
HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")

NOT_ASCII: Final = (
    "The address may contain ASCII characters only: write a host name in its xn--… form "
    "(bücher.example is xn--bcher-kva.example), and anything else percent-encoded (ü is %C3%BC)."
)


def check_on(settings: Settings) -> None:
    """Return if webhooks are switched on.

    Raises:
        WebhooksOff: they are not; sending data out of the service is the operator's decision.
    """
    if not settings.webhooks:
        raise WebhooksOff("Webhooks are off; the service's operator switches them on by PLAINFILM_WEBHOOKS=true.")


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(why, [("#/url", why)])


def check_url(url: str, *, allow_private: bool) -> None:
    """Return if a webhook may have this URL. Whether its host's name is public is checked at each try.

    Raises:
        InvalidRequest: the URL is not allowed; says why.
    """
    if not url.isascii():
        raise _refused(NOT_ASCII)
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"}:
        raise _refused("The address is not an http or https URL.")
    if "@" in parts.netloc:
        raise _refused("The address must not contain a user name or password; deliveries are signed instead.")
    if "#" in url:
        raise _refused("The address must not have a fragment.")
    if not HOST.fullmatch(parts.netloc if parts.port is None else parts.netloc.rpartition(":")[0]):
        raise _refused("The address has no valid host name.")
    if allow_private:
        return
    if parts.scheme != "https":
        raise _refused("The address must begin with https://.")
    if _is_private_literal(parts.hostname or ""):
        raise _refused("The address is not on the public internet.")


def resolve(host: str, port: int) -> list[str]:
    """Return all addresses of a host, as the system resolves it.

    Raises:
        OSError, UnicodeError: it does not resolve.
    """
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in entries))


def is_public(address: str) -> bool:
    """Whether an address is one host's on the public internet: not private, no multicast, no tunnel to IPv4."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is None:
            return ip.is_global and ip in GLOBAL_UNICAST and ip.sixtofour is None and ip.scope_id is None
        ip = ip.ipv4_mapped
    return _is_public_v4(ip)


def _is_public_v4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in net for net in NOT_GLOBAL)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        is_usable = PLAIN.fullmatch(url) and "\\" not in url and parts.hostname and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        return None
    return parts if is_usable else None


def _is_private_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return not is_public(host)
