"""Which addresses may be given to a webhook, and which machines may be sent to."""

from __future__ import annotations

import pytest

from shared.errors import InvalidRequest
from shared.webhooks import targets

PUBLIC = ("1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1")

INSIDE = (
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "100.100.100.200", "0.0.0.1", "255.255.255.255", "224.0.0.1", "239.1.1.1", "240.0.0.1", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "168.63.129.16", "192.88.99.1",
    "::", "::1", "::7f00:1", "fe80::1", "fe80::1%eth0", "2606:4700::1%1", "fc00::1", "fd00:ec2::254",
    "fec0::1", "ff02::1",
    "2001:db8::1", "2002:7f00:1::", "2002:a00:1::", "2001:0:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "5f00::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1",
    "", "ris.example", "127.1", "0x7f000001",
)  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_machine_of_the_internet_may_be_sent_to(address: str) -> None:
    """Of either version of IP, and of the older one in the newer's form."""
    assert targets.is_public(address)


@pytest.mark.parametrize("address", INSIDE)
def test_a_machine_inside_may_not(address: str) -> None:
    """This one, a network's own, clouds' metadata, groups, and what leads to IPv4 by a detour; what is no address."""
    assert not targets.is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://ris.example", "https://ris.example/films?key=1", "https://RIS.example:8443/x", "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]:443/", "https://xn--strae-oqa.example/", "https://my_host.example/",
    ],
)  # fmt: skip
def test_an_address_of_https_is_taken(url: str) -> None:
    """A name, which is looked up later, or a public address."""
    targets.check_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "", "ris.example", "//ris.example/", "ftp://ris.example/", "file:///etc/passwd", "https://", "https:///x",
        "https://me:secret@ris.example/", "https://me@ris.example/", "https://ris.example@127.0.0.1/", "https://@ris.example/",
        "https://ris.example/#x", "https://ris.example/ x", "https://ris.example\\@127.0.0.1/", "https://ris.example\n/",
        "https://ris.example:0/", "https://ris.example:99999/", "https://ris.example:x/", "https://ris.example:/",
        "https://straße.example/", "https://.example/", "https://-x.example/", "https://[fe80::1%25eth0]/", "https://[x]/",
        "https://ris.example%00/", "https://1.1.1.1%2f/",
    ],
)  # fmt: skip
def test_what_is_no_address_to_send_to_is_refused(url: str) -> None:
    """Whatever the operator allows: two readers might take it for two addresses, or it holds a password."""
    with pytest.raises(InvalidRequest):
        targets.check_url(url, allow_private=True)


def test_who_writes_a_password_into_an_address_is_told_why() -> None:
    """Not that its host cannot be used."""
    with pytest.raises(InvalidRequest, match="must not contain a user name or password"):
        targets.check_url("https://me:secret@ris.example/", allow_private=True)


@pytest.mark.parametrize("url", ["https://bücher.example/", "https://straße.example", "https://ris.example/bücher"])
def test_letters_that_an_address_cannot_have_are_told_how_to_be_written(url: str) -> None:
    """Such a URL is one of https, so that it is none would send its writer looking elsewhere."""
    with pytest.raises(InvalidRequest, match=r"xn--bcher-kva\.example.*%C3%BC"):
        targets.check_url(url, allow_private=True)


@pytest.mark.parametrize(
    "url", ["http://ris.example/", "http://1.1.1.1/", "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1:8443/x"]
)
def test_what_is_inside_or_plain_needs_the_operators_word(url: str) -> None:
    """`PLAINFILM_WEBHOOKS_PRIVATE`."""
    with pytest.raises(InvalidRequest):
        targets.check_url(url, allow_private=False)
    targets.check_url(url, allow_private=True)
