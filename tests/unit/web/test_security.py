"""Who may come in, how long, and what every answer carries."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from shared.db.tables import ApiKey, AuditEvent, LoginLink
from shared.wiring import Resources
from tests.api import Api, make_key, stored
from tests.factories import make_png
from web import security

GUARDED = ["/", "/model", "/live", "/api/v1/jobs", "/jobs/x", "/api/v1/nothing", "/nothing"]
OPEN = ["/livez", "/readyz", "/problems", "/api/v1/openapi.json", "/api/docs", "/favicon.ico", "/static/css/base.css"]
PNG = {"Content-Type": "image/png"}


@pytest.fixture
def api(resources: Resources) -> Api:
    """An application and an admin's key."""
    return Api(resources, make_key(resources.database))


def is_refused(response: TestResponse, status: int, code: str) -> bool:
    """A problem of this status and code."""
    return response.status_code == status and (response.json or {}).get("code") == code


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GUARDED)
def test_nothing_is_shown_without_a_key(api: Api, path: str) -> None:
    """401 with the challenge, the same whether the address exists or not."""
    response = api.client.get(path)
    assert is_refused(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="plainfilm"'


@pytest.mark.parametrize("path", OPEN)
def test_some_addresses_are_open(api: Api, path: str) -> None:
    """Health, problems, the API's document and what pages are made of."""
    assert api.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/livez/", "/livezz", "/static", "/enter", "/enter/", "/enter/a/b", "/static/../api/v1/jobs", "/LIVEZ"]
)
def test_addresses_beside_the_open_ones_are_not(api: Api, path: str) -> None:
    """The open ones are matched whole."""
    assert api.client.get(path).status_code in (401, 404)
    assert not api.client.get(path).text.startswith("ok")


SPOILT = {
    "empty": "",
    "word": "x",
    "short": "pf_{id}_{cut}",
    "long": "pf_{id}_{secret}A",
    "form": "pf-{id}-{secret}",
    "secret": "pf_{id}_" + "A" * 43,
    "id": "pf_" + "0" * 12 + "_{secret}",
    "case": "PF_{id}_{secret}",
    "huge": "x" * 100_000,
}


@pytest.mark.parametrize("fault", SPOILT)
def test_a_key_that_is_not_right_is_not_let_in(api: Api, fault: str) -> None:
    """Malformed, unknown, wrong secret: one answer."""
    key = api.key or ""
    spoilt = SPOILT[fault].format(id=key[3:15], secret=key[16:], cut=key[16:-1])
    response = api.client.get("/api/v1/jobs", headers={"Authorization": f"Bearer {spoilt}"})
    assert is_refused(response, 401, "unauthorized")
    assert (api.key or "") not in response.text


def test_the_schemes_name_has_no_case(api: Api) -> None:
    """RFC 9110: `bearer` is `Bearer`; another scheme is none of ours."""
    for scheme, status in (("bearer", 200), ("BEARER", 200), ("Basic", 401), ("Token", 401)):
        assert api.client.get("/api/v1/jobs", headers={"Authorization": f"{scheme} {api.key}"}).status_code == status


def test_a_revoked_key_opens_nothing(api: Api) -> None:
    """From the next request on, for API and session alike."""
    browser = api.browse()
    assert browser.request("GET", "/api/v1/jobs").status_code == 200
    with api.resources.database.begin() as session:
        session.execute(update(ApiKey).values(revoked_at=datetime.now(UTC)))
    assert is_refused(api.get("/api/v1/jobs"), 401, "unauthorized")
    assert is_refused(browser.request("GET", "/api/v1/jobs"), 401, "unauthorized")


def test_no_secret_is_stored(api: Api) -> None:
    """Key and link are kept as their SHA-256."""
    link = api.make_link().removeprefix("/enter/")
    with api.resources.database.read() as session:
        (key,), (kept,) = session.scalars(select(ApiKey)).all(), session.scalars(select(LoginLink)).all()
    secret = (api.key or "")[16:]
    assert len(key.secret_sha256) == len(kept.token_sha256) == 64
    assert secret not in key.secret_sha256
    assert link not in kept.token_sha256


# -- roles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "status"), [("admin", 202), ("uploader", 202), ("reviewer", 202), ("auditor", 403)])
def test_an_auditor_reads_only(resources: Resources, role: str, status: int) -> None:
    """Lists and jobs yes, films and cancels no."""
    api = Api(resources, make_key(resources.database, role=role))
    assert api.get("/api/v1/jobs").status_code == 200
    assert api.submit().status_code == status
    assert stored(resources) == ((1, 1) if status == 202 else (0, 0))


def test_an_auditor_changes_nothing_by_a_session_either(resources: Resources) -> None:
    """The session is the key's."""
    browser = Api(resources, make_key(resources.database, role="auditor")).browse()
    headers = PNG | {"X-CSRFToken": browser.csrf_token()}
    assert is_refused(browser.request("POST", "/api/v1/jobs", headers, data=make_png()), 403, "forbidden")


# -- sessions --------------------------------------------------------------------------------------------------------


def test_a_link_opens_once(api: Api) -> None:
    """303 to the worklist with a cookie; the second time 401 and no cookie."""
    link = api.make_link()
    first, second = api.app.test_client().get(link), api.app.test_client().get(link)
    assert (first.status_code, first.headers["Location"]) == (303, "/")
    assert is_refused(second, 401, "unauthorized")
    assert "Set-Cookie" not in second.headers


def test_a_look_at_a_link_does_not_use_it_up(api: Api) -> None:
    """Mail scanners and messengers ask with HEAD whether there is something."""
    link = api.make_link()
    api.key = None
    assert api.request("HEAD", link).status_code == 204
    assert api.get(link).status_code == 303


def test_an_old_link_does_not_open(api: Api) -> None:
    """An hour after it was made."""
    link = api.make_link()
    with api.resources.database.begin() as session:
        session.execute(update(LoginLink).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert is_refused(api.client.get(link), 401, "unauthorized")


def test_an_invented_link_does_not_open(api: Api) -> None:
    """Nor one that is too long or strange."""
    for token in ("x", "x" * 5000, "%00", "'; DROP TABLE jobs"):
        assert is_refused(api.client.get(f"/enter/{token}"), 401, "unauthorized")


def test_coming_in_is_recorded(api: Api) -> None:
    """An audit event by the key."""
    api.browse()
    with api.resources.database.read() as session:
        events = session.execute(select(AuditEvent.actor, AuditEvent.action).order_by(AuditEvent.seq)).all()
    assert tuple(events[-1]) == (f"key:{(api.key or '')[3:15]}", "entered")


def test_the_cookie_is_kept_from_scripts_and_other_sites(api: Api) -> None:
    """HttpOnly, SameSite, for the whole host; Secure and its prefix where TLS is promised."""
    cookie = api.client.get(api.make_link()).headers["Set-Cookie"]
    assert cookie.startswith("plainfilm=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie.split("; ")
    behind_tls = api.resources.settings.model_copy(update={"secure_cookies": True})
    secure = Api(replace(api.resources, settings=behind_tls), api.key)
    cookie = secure.client.get(secure.make_link(), base_url="https://films.example").headers["Set-Cookie"]
    assert cookie.startswith("__Host-plainfilm=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Secure"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


def sign(api: Api, since: datetime, secret: str | None = None) -> str:
    """A session that began at `since`, signed with the application's secret, unless another is given."""
    app = Flask("web")
    app.secret_key = secret or api.app.secret_key
    signer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    return str(signer.dumps({"key_id": (api.key or "")[3:15], "since": int(since.timestamp()), "_permanent": True}))


def ask_with(api: Api, cookie: str) -> TestResponse:
    """A list, asked for with this session."""
    client = api.app.test_client()
    client.set_cookie("plainfilm", cookie)
    return client.get("/api/v1/jobs")


def test_a_session_ends_after_its_time(api: Api) -> None:
    """Eight hours after it began, used or not."""
    now = datetime.now(UTC)
    young, old = now - security.SESSION_LIFE + timedelta(minutes=1), now - security.SESSION_LIFE - timedelta(minutes=1)
    assert ask_with(api, sign(api, young)).status_code == 200
    assert is_refused(ask_with(api, sign(api, old)), 401, "unauthorized")


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_a_session_can_be_left(resources: Resources, role: str) -> None:
    """By whoever has one, with its token; the next page asks for a link."""
    person = Api(resources, make_key(resources.database, role=role)).browse()
    assert person.request("POST", "/leave").status_code == 403
    answer = person.request("POST", "/leave", data={"csrf_token": person.csrf_token()})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/left")
    told = person.request("GET", "/left")
    assert (told.status_code, "The session has ended" in told.text, 'id="no-session"' in told.text) == (200, True, True)
    assert person.request("GET", "/", {"Accept": "text/html"}).status_code == 401


def test_browsers_are_kept_to_tls_where_it_ends_in_front_of_us(api: Api) -> None:
    """And only there: on loopback there is none."""
    assert "Strict-Transport-Security" not in api.get("/livez").headers
    behind_tls = api.resources.settings.model_copy(update={"secure_cookies": True})
    answer = Api(replace(api.resources, settings=behind_tls), api.key).get("/livez")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_forged_session_is_none(api: Api) -> None:
    """Signed with another secret, changed, or not signed."""
    good = sign(api, datetime.now(UTC))
    for cookie in (sign(api, datetime.now(UTC), secret="x"), "x", "e30.x.y", good[:-1], "A" + good[1:]):  # noqa: S106  a wrong one
        assert is_refused(ask_with(api, cookie), 401, "unauthorized")


def test_coming_in_again_begins_a_new_session(api: Api) -> None:
    """What an older session held is gone (session fixation)."""
    browser = api.browse()
    token = browser.csrf_token()
    assert browser.request("GET", api.make_link()).status_code == 303
    headers = PNG | {"X-CSRFToken": token}
    assert is_refused(browser.request("POST", "/api/v1/jobs", headers, data=make_png()), 403, "forbidden")


# -- CSRF ------------------------------------------------------------------------------------------------------------


def test_a_session_needs_its_token_to_change_things(api: Api) -> None:
    """Without or with a wrong one 403 and nothing stored; with its own 202."""
    browser = api.browse()
    for headers in ({}, {"X-CSRFToken": "x"}, {"X-CSRFToken": api.browse().csrf_token()}):
        assert is_refused(browser.request("POST", "/api/v1/jobs", PNG | headers, data=make_png()), 403, "forbidden")
    assert stored(api.resources) == (0, 0)
    own = PNG | {"X-CSRFToken": browser.csrf_token()}
    assert browser.request("POST", "/api/v1/jobs", own, data=make_png()).status_code == 202


def test_a_session_may_look_without_a_token(api: Api) -> None:
    """GET and HEAD change nothing."""
    browser = api.browse()
    assert [browser.request(method, "/api/v1/jobs").status_code for method in ("GET", "HEAD")] == [200, 200]


def test_a_session_behind_tls_needs_no_referrer(api: Api) -> None:
    """Our own policy keeps browsers from sending one."""
    browser = api.browse(base_url="https://films.example")
    headers = PNG | {"X-CSRFToken": browser.csrf_token()}
    assert browser.request("POST", "/api/v1/jobs", headers, data=make_png()).status_code == 202


def test_a_key_needs_no_token(api: Api) -> None:
    """No site can make a browser send a bearer key."""
    assert api.submit().status_code == 202


def test_a_bad_key_is_not_saved_by_a_session(api: Api) -> None:
    """Who sends a key is judged by it."""
    browser = api.browse()
    response = browser.request("GET", "/api/v1/jobs", {"Authorization": "Bearer x"})
    assert is_refused(response, 401, "unauthorized")


# -- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_key", [True, False])
def test_every_answer_is_hardened(*, api: Api, with_key: bool) -> None:
    """Errors too: no sniffing, no framing, no inline script, no caching of what is private."""
    for path in [*OPEN, *GUARDED, "/enter/x"]:
        response = api.get(path) if with_key else api.client.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert response.headers["X-Content-Type-Options"] == "nosniff", path
        assert response.headers["Referrer-Policy"] == "no-referrer", path
        is_public = path.startswith(("/static/", "/favicon.ico"))
        assert is_public or response.headers["Cache-Control"] == "no-store", path


def test_a_fault_is_hardened_too(api: Api) -> None:
    """A 500 carries the same headers."""

    @api.app.get("/livez/broken")
    def broken() -> str:
        raise RuntimeError

    response = api.get("/livez/broken")
    assert response.status_code == 500
    assert security.HEADERS.items() <= dict(response.headers).items()


@pytest.mark.parametrize("given", ["abc", "A-1_b.c", "x" * 64])
def test_a_request_id_is_given_back(api: Api, given: str) -> None:
    """Where it has the form of one; in the problem as well."""
    response = api.get("/api/v1/jobs/x", {"X-Request-Id": given})
    assert response.headers["X-Request-Id"] == (response.json or {})["request_id"] == given


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 65, "<script>", "é", 'a"b', "a;b"])
def test_a_strange_request_id_is_replaced(api: Api, given: str) -> None:
    """By one of ours, new each time."""
    ids = {api.get("/livez", {"X-Request-Id": given}).headers["X-Request-Id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(security.REQUEST_ID.fullmatch(found) for found in ids)
    assert given not in ids


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_trace_names_the_request_that_has_no_name(api: Api) -> None:
    """Its id is given back, in a problem too; a name that the client chose stays."""
    for headers, named in (
        ({"traceparent": TRACEPARENT}, TRACE),
        ({"traceparent": TRACEPARENT.replace("-01", "-ff")}, TRACE),
        ({"traceparent": TRACEPARENT, "X-Request-Id": "mine"}, "mine"),
        ({"traceparent": TRACEPARENT, "X-Request-Id": "not one"}, TRACE),
    ):
        response = api.get("/api/v1/jobs/x", headers)
        assert response.headers["X-Request-Id"] == (response.json or {})["request_id"] == named


@pytest.mark.parametrize(
    "given",
    [
        "",
        TRACE,
        TRACEPARENT.upper(),
        TRACEPARENT.replace("00-", "01-", 1),
        TRACEPARENT.replace("00-", "ff-", 1),
        TRACEPARENT.replace(TRACE, "0" * 32),
        TRACEPARENT.replace("00f067aa0ba902b7", "0" * 16),
        TRACEPARENT[:-1],
        f"{TRACEPARENT}-00",
        f"{TRACEPARENT}\N{LATIN SMALL LETTER E WITH ACUTE}",
        f"{TRACEPARENT},{TRACEPARENT}",
        TRACEPARENT.replace("4bf9", "4bg9"),
    ],
    ids=["none", "no dashes", "capitals", "version 1", "version ff", "no trace", "no parent", "short", "long", "accent",
         "twice", "no digit"],
)  # fmt: skip
def test_what_is_no_traceparent_is_ignored(api: Api, given: str) -> None:
    """The request has an id of ours, as if nothing had come."""
    found = api.get("/livez", {"traceparent": given}).headers["X-Request-Id"]
    assert len(found) == 16
