"""Where may be sent to: which addresses are taken from an admin, and which machines a name may lead to.

A tenant's admin names the address, and the service would send to it from inside of its network: so only addresses of
the public internet are taken, unless the service's operator allows others. Names are resolved at each try, and what
was checked is what is connected to (`post`), so a name that leads elsewhere the next moment helps nobody.
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

GIVEN_OUT: Final = IPv6Network("2000::/3")
"""All that IANA has given out as global unicast; beside it are NAT64 and other ways to addresses of IPv4."""

NOT_GLOBAL: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv4Network("168.63.129.16/32"))
"""Taken for public by some Pythons, and not: for protocols alone, a way to IPv6, what Azure has beside each machine."""

PLAIN: Final = re.compile(r"[!-~]+")
HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")


def check_on(settings: Settings) -> None:
    """Return where anything is sent at all.

    Raises:
        WebhooksOff: what leaves the house is the operator's decision, who has not made it.
    """
    if not settings.webhooks:
        raise WebhooksOff("Webhooks are off; the service's operator switches them on by PLAINFILM_WEBHOOKS=true.")


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(why, [("#/url", why)])


def check_url(url: str, *, allow_private: bool) -> None:
    """Return where this address may be given to a webhook. Whether its host is public, too, shows when it is sent to.

    Raises:
        InvalidRequest: it is none that can be sent to; says why.
    """
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"}:
        raise _refused("The address is no http or https URL.")
    if "@" in parts.netloc:
        raise _refused("The address must not hold a user or a password; what is sent is signed.")
    if "#" in url:
        raise _refused("The address must not have a fragment.")
    if not HOST.fullmatch(parts.netloc if parts.port is None else parts.netloc.rpartition(":")[0]):
        raise _refused("The address has no host that can be used; write other letters than ASCII as xn--….")
    if allow_private:
        return
    if parts.scheme != "https":
        raise _refused("The address must begin with https://.")
    if _is_private_literal(parts.hostname or ""):
        raise _refused("The address is not one of the public internet.")


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system finds them.

    Raises:
        OSError, UnicodeError: none is found.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an address is a machine's of the public internet: no network's own, nobody's group, no detour to IPv4."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is None:
            return found.is_global and found in GIVEN_OUT and found.sixtofour is None and found.scope_id is None
        found = found.ipv4_mapped
    return _is_public_v4(found)


def _is_public_v4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in net for net in NOT_GLOBAL)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        is_usable = PLAIN.fullmatch(url) and "\\" not in url and parts.hostname and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return None
    return parts if is_usable else None


def _is_private_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return not is_public(host)
