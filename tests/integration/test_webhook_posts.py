"""What a receiver can do to who sends: over real sockets, plain and encrypted. No test waits for long."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler

import pytest
import trustme

from shared.db.deliveries import Answer
from shared.webhooks import post, targets
from shared.webhooks.post import Poster
from tests.waiting import LIMIT_S
from tests.webhooks import Act, Receiver, receiving

pytestmark = pytest.mark.integration

HOST = "ris.example"
SHORT_S = 0.4
"""What a try may take where nothing comes; elsewhere only a fault takes its time."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who certificates are from."""
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Of a receiver that is `HOST`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Of who trusts that authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def here(_host: str, _port: int) -> Sequence[str]:
    """Every name is this machine's."""
    return ["127.0.0.1"]


def send(
    url: str,
    *,
    resolve: targets.Resolve = targets.resolve,
    tls: ssl.SSLContext | None = None,
    whole_s: float = LIMIT_S,
) -> Answer:
    """One try, to this machine too."""
    return Poster(resolve, allow_private=True, tls=tls, whole_s=whole_s).post(url, {"webhook-id": "1"}, b"{}")


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A head that never ends, byte by byte."""
    for _ in range(600):
        handler.wfile.write(b"H")
        handler.wfile.flush()
        time.sleep(0.05)


def hang(_handler: BaseHTTPRequestHandler) -> None:
    """Nothing comes."""
    time.sleep(30)


def huge_head(handler: BaseHTTPRequestHandler) -> None:
    """More than is read."""
    handler.send_response(200)
    for n in range(2000):
        handler.send_header(f"X-{n}", "x" * 100)
    handler.end_headers()


def announce(handler: BaseHTTPRequestHandler) -> None:
    """Head after head, none of them the last."""
    while True:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)


def huge_body(handler: BaseHTTPRequestHandler) -> None:
    """A body that is never through."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(2**40))
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(bytes(2**16))


def nonsense(handler: BaseHTTPRequestHandler) -> None:
    """No HTTP."""
    handler.wfile.write(b"SSH-2.0-x\r\n")


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """The connection ends."""
    handler.connection.close()


def redirect_to(other: Receiver) -> Act:
    """To another receiver."""

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", other.url)
        handler.end_headers()

    return redirect


@pytest.fixture
def other() -> Iterator[Receiver]:
    """Where nothing should come."""
    with receiving() as found:
        yield found


def test_a_redirect_is_an_answer_and_not_followed(other: Receiver) -> None:
    """It would lead past every check of the address."""
    with receiving(redirect_to(other)) as receiver:
        answer = send(receiver.url)
    assert (answer.status, answer.error, answer.is_taken) == (307, None, False)
    assert other.received == []


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (hang, post.TIMED_OUT),
        (drip, post.TIMED_OUT),
        (huge_head, post.BROKEN_ANSWER),
        (announce, post.BROKEN_ANSWER),
        (nonsense, post.BROKEN_ANSWER),
        (hang_up, post.BROKEN_ANSWER),
    ],
)
def test_a_bad_answer_has_a_name_and_an_end(act: Act, error: str) -> None:
    """A try takes its time at the most, however the bytes come."""
    with receiving(act) as receiver:
        answer = send(receiver.url, whole_s=SHORT_S if error == post.TIMED_OUT else LIMIT_S)
    assert (answer.status, answer.error) == (None, error)


@pytest.mark.parametrize("path", ["/hook;token=abc?x=1;y", "/", "", "/a%2Fb?"])
def test_what_is_asked_for_is_what_was_given(path: str) -> None:
    """Nothing of the path is lost on the way, a parameter of its last part included."""
    with receiving() as receiver:
        url = receiver.url.removesuffix("/hook") + path
        assert send(url).is_taken
        assert receiver.received[0].path == (path.removesuffix("?") or "/")
        assert receiver.received[0].headers["host"] == url.split("/")[2]


def test_a_name_that_is_found_too_late_is_not_sent_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another dispatcher may have begun by then."""
    monkeypatch.setattr(post, "RESOLVE_S", 0.01)

    def slow(_host: str, _port: int) -> Sequence[str]:
        time.sleep(0.05)
        return ["127.0.0.1"]

    with receiving() as receiver:
        assert send(receiver.url, resolve=slow).error == post.TIMED_OUT
        assert receiver.received == []


def test_of_an_answer_the_head_is_enough() -> None:
    """A body without an end costs nothing."""
    with receiving(huge_body) as receiver:
        assert send(receiver.url).is_taken


def test_where_nobody_listens_the_connection_failed() -> None:
    """A port that is taken, so that nobody else can listen there meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert send(f"http://127.0.0.1:{taken.getsockname()[1]}/hook").error == post.CONNECT_FAILED


def test_all_addresses_of_a_name_are_tried() -> None:
    """The first that answers is taken: here the second."""
    with receiving() as receiver:
        url = receiver.url.replace("127.0.0.1", HOST)
        assert send(url, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"]).is_taken


def test_the_connection_is_to_what_was_checked_and_the_name_stays(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Host and certificate are those of the name, which is asked for once."""
    asked: list[str] = []

    def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with receiving(tls=server_tls, host=HOST) as receiver:
        assert send(receiver.url, resolve=resolve, tls=client_tls).is_taken
        assert receiver.received[0].headers["host"] == receiver.url.split("/")[2]
    assert asked == [HOST]


def test_a_certificate_of_another_name_or_authority_is_refused(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Before anything is sent."""
    with receiving(tls=server_tls, host="other.example") as receiver:
        assert send(receiver.url, resolve=here, tls=client_tls).error == post.TLS_FAILED
        assert send(receiver.url.replace("other", "ris"), resolve=here).error == post.TLS_FAILED
        assert receiver.received == []


def test_a_handshake_that_hangs_has_an_end(client_tls: ssl.SSLContext) -> None:
    """As any answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://{HOST}:{silent.getsockname()[1]}/"
        assert send(url, resolve=here, tls=client_tls, whole_s=SHORT_S).error == post.TIMED_OUT


def test_who_speaks_no_tls_gets_nothing(client_tls: ssl.SSLContext) -> None:
    """A receiver of plain HTTP."""
    with receiving() as receiver:
        url = receiver.url.replace("http:", "https:").replace("127.0.0.1", HOST)
        assert send(url, resolve=here, tls=client_tls).error == post.TLS_FAILED
        assert receiver.received == []


def test_no_proxy_of_the_environment_is_asked(other: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would connect to whatever it resolves itself."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, other.url)
    with receiving() as receiver:
        assert send(receiver.url).is_taken
    assert other.received == []


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["::1"], [""]])
def test_a_name_that_leads_inside_is_not_connected_to(addresses: list[str]) -> None:
    """One such address among others is enough; each try looks anew, so a name that has changed since is no way in."""
    with receiving() as receiver:
        url = receiver.url.replace("http:", "https:").replace("127.0.0.1", HOST)
        public = Poster(lambda *_: addresses, allow_private=False)
        assert public.post(url, {}, b"{}").error == post.ADDRESS_REFUSED
        assert receiver.received == []


def test_a_name_is_resolved_once_a_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is checked is what is connected to: a name that is another's at its second question is never asked twice."""
    answers = [["1.1.1.1"], ["127.0.0.1"]]
    connected: list[str] = []

    def connect(_backend: object, address: str, *_: object) -> None:
        connected.append(address)
        raise post.httpcore.ConnectError

    monkeypatch.setattr(post.httpcore.SyncBackend, "connect_tcp", connect)
    public = Poster(lambda *_: answers.pop(0), allow_private=False)
    assert public.post(f"https://{HOST}/", {}, b"{}").error == post.CONNECT_FAILED
    assert connected == ["1.1.1.1"]
    assert public.post(f"https://{HOST}/", {}, b"{}").error == post.ADDRESS_REFUSED
    assert connected == ["1.1.1.1"]


def test_what_was_allowed_once_is_looked_at_anew() -> None:
    """An address of plain HTTP, taken while private ones were: nothing is sent once they are not."""
    with receiving() as receiver:
        public = Poster(lambda *_: ["1.1.1.1"], allow_private=False)
        assert public.post(receiver.url.replace("127.0.0.1", HOST), {}, b"{}").error == post.ADDRESS_REFUSED
        assert receiver.received == []


@pytest.mark.parametrize("host", ["x.invalid", "a" * 70 + ".example"])
def test_a_name_that_nobody_has_is_said(host: str) -> None:
    """By the system's own resolver."""
    assert send(f"http://{host}/").error == post.UNRESOLVED
