"""Every setting comes from its variable, is checked once, and a bad one is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import text

from shared.db.engine import build_database
from shared.errors import InvalidRequest
from shared.imaging.decode import MAX_INPUT_BYTES
from shared.settings import Settings, find_unknown, load_settings

GOOD: dict[str, tuple[str, object]] = {
    "home": ("/srv/films", Path("/srv/films")),
    "port": ("9000", 9000),
    "host": ("0.0.0.0", "0.0.0.0"),  # noqa: S104  only read
    "url": ("http://films.example:8000/", "http://films.example:8000/"),
    "key": ("pf_x", "pf_x"),
    "database_url": ("postgresql://u:p@h/d", "postgresql://u:p@h/d"),
    "redis_url": ("redis://h:1/0", "redis://h:1/0"),
    "session_secret": ("s", "s"),
    "model_dir": ("/srv/model", Path("/srv/model")),
    "engine": ("keras", "keras"),
    "log_level": ("DEBUG", "DEBUG"),
    "max_upload_bytes": ("2048", 2048),
    "upload_budget_bytes": ("40000000", 40_000_000),
    "decoders": ("3", 3),
    "engine_threads": ("2", 2),
    "workers": ("4", 4),
    "precision": ("bf16", "bf16"),
    "web_workers": ("2", 2),
    "secure_cookies": ("true", True),
    "batch_limit": ("16", 16),
    "lease_s": ("30", 30.0),
    "poll_s": ("0.5", 0.5),
    "ring_after_s": ("5", 5.0),
    "run_limit_s": ("90", 90.0),
    "max_attempts": ("5", 5),
    "aged_after_s": ("60", 60.0),
    "queue_limit": ("100", 100),
    "tenant_queue_limit": ("10", 10),
    "waiter_limit": ("20", 20),
    "tenant_waiter_limit": ("10", 10),
    "min_free_bytes": ("0", 0),
    "retain_days": ("0.5", 0.5),
    "orphan_after_s": ("60", 60.0),
    "webhooks": ("true", True),
    "webhooks_private": ("true", True),
}
BAD = {
    "port": "0",
    "home": "",
    "database_url": "mysql://u:secret@h/d",
    "redis_url": "http://h:1/0",
    "url": "not a url",
    "engine": "steam",
    "log_level": "chatty",
    "max_upload_bytes": "1",
    "decoders": "0",
    "engine_threads": "0",
    "workers": "0",
    "precision": "f16",
    "web_workers": "none",
    "secure_cookies": "perhaps",
    "batch_limit": "257",
    "lease_s": "0",
    "poll_s": "11",
    "ring_after_s": "soon",
    "run_limit_s": "0",
    "max_attempts": "0",
    "aged_after_s": "0",
    "queue_limit": "0",
    "tenant_queue_limit": "0",
    "waiter_limit": "0",
    "tenant_waiter_limit": "0",
    "min_free_bytes": "-1",
    "retain_days": "0",
    "orphan_after_s": "0",
    "webhooks": "perhaps",
    "webhooks_private": "2",
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the developer's own variables."""
    for name in [name for name in os.environ if name.startswith("PLAINFILM_")]:
        monkeypatch.delenv(name)


def test_every_setting_is_tried_here() -> None:
    """A new setting needs its line above."""
    assert GOOD.keys() == Settings.model_fields.keys()


@pytest.mark.parametrize("name", GOOD)
def test_a_variable_sets_its_setting(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """PLAINFILM_<NAME>, and it differs from the default."""
    text, expected = GOOD[name]
    monkeypatch.setenv(f"PLAINFILM_{name.upper()}", text)
    found = getattr(load_settings(), name)
    shown = found.get_secret_value() if hasattr(found, "get_secret_value") else found
    assert str(shown) == str(expected)
    assert found != getattr(Settings.model_construct(), name, None)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One line that says which variable and why, without the value itself."""
    monkeypatch.setenv(f"PLAINFILM_{name.upper()}", BAD[name])
    with pytest.raises(InvalidRequest, match=f"PLAINFILM_{name.upper()}: "):
        load_settings()


def test_no_upload_is_accepted_that_the_decoder_would_not_take() -> None:
    """The two limits are one number, on two floors of the house."""
    assert Settings(max_upload_bytes=MAX_INPUT_BYTES).max_upload_bytes == MAX_INPUT_BYTES
    with pytest.raises(ValidationError):
        Settings(max_upload_bytes=MAX_INPUT_BYTES + 1)


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who corrects one need not start again to hear of the next."""
    monkeypatch.setenv("PLAINFILM_PORT", "many")
    monkeypatch.setenv("PLAINFILM_LEASE_S", "long")
    with pytest.raises(InvalidRequest, match=r"PLAINFILM_PORT.*PLAINFILM_LEASE_S"):
        load_settings()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_plain_postgres_address_is_read_as_psycopg(scheme: str) -> None:
    """What hosting services hand out works as it is."""
    settings = Settings(database_url=f"{scheme}://u:p@h:5432/d?sslmode=require")
    assert settings.sql_url == "postgresql+psycopg://u:p@h:5432/d?sslmode=require"


@pytest.mark.parametrize("url", ["sqlite:////srv/x.db", "postgresql+psycopg://h/d"])
def test_any_other_address_stays_as_it_is(url: str) -> None:
    """A driver that is named is used."""
    assert Settings(database_url=url).sql_url == url


def test_the_database_lives_in_the_home_unless_set() -> None:
    """SQLite beside the films."""
    settings = Settings(home=Path("/srv/films"))
    assert settings.sql_url == "sqlite:////srv/films/plainfilm.db"
    assert settings.blobs == Path("/srv/films/films")


@pytest.mark.parametrize("name", ["what?", "50%20off", "a b", "films#1", "a:b@c", "Röntgen", 'say "x"', "back\\slash"])
def test_the_database_is_in_the_home_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    """None of what means something in an address does so in a path."""
    database = build_database(Settings(home=tmp_path / name))
    with database.begin() as session:
        session.execute(text("CREATE TABLE seen (id integer)"))
    database.close()
    assert (tmp_path / name / "plainfilm.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_home_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Parts started elsewhere see the same folder; `~` is the person's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("PLAINFILM_HOME", "here")
    assert load_settings().home == tmp_path / "here"
    monkeypatch.setenv("PLAINFILM_HOME", "~/there")
    assert load_settings().home == tmp_path / "me" / "there"


def test_settings_are_frozen() -> None:
    """Nothing changes them after the start."""
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_secrets_are_not_shown() -> None:
    """Neither printed nor logged by accident."""
    settings = Settings(key="pf_secret", database_url="postgresql://u:hidden@h/d", session_secret="quiet")  # noqa: S106  made up
    assert not {word for word in ("pf_secret", "hidden", "quiet") if word in repr(settings)}


def test_a_service_running_in_the_home_is_found(tmp_path: Path) -> None:
    """Broker, address and key are read from the home where they are not set."""
    settings = Settings(home=tmp_path)
    assert (settings.broker_url, settings.client_key) == (None, None)
    assert settings.service_url == "http://127.0.0.1:8000"
    settings.run.mkdir()
    (settings.run / "redis-url").write_text("redis://:p@127.0.0.1:7/0\n")
    (settings.run / "url").write_text("http://127.0.0.1:9\n")
    settings.key_file.write_text("pf_kept\n")
    assert settings.broker_url == "redis://:p@127.0.0.1:7/0"
    assert settings.service_url == "http://127.0.0.1:9"
    assert settings.client_key == "pf_kept"


def test_what_is_set_wins_over_what_runs(tmp_path: Path) -> None:
    """A variable beats a file; an address loses its closing slash."""
    settings = Settings(home=tmp_path, redis_url="redis://a", url="http://b/", key="pf_c")
    settings.run.mkdir()
    for name in ("redis-url", "url"):
        (settings.run / name).write_text("other")
    settings.key_file.write_text("other")
    assert (settings.broker_url, settings.service_url, settings.client_key) == ("redis://a", "http://b", "pf_c")


@pytest.mark.parametrize("rest", ["/plainfilm/", "/api/v1", "/?", "?key=a", "#top"])
def test_a_service_below_a_path_is_refused(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    """Pages and links begin at the root of the host: no link with a path would work."""
    monkeypatch.setenv("PLAINFILM_URL", f"https://films.example:8443{rest}")
    with pytest.raises(InvalidRequest, match=r"PLAINFILM_URL: .*as in https://films\.example; .*root of a host"):
        load_settings()


def test_a_service_with_a_user_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Basic credentials would be sent in the place of the key; they are not shown."""
    monkeypatch.setenv("PLAINFILM_URL", "https://reader:s3cret@films.example")
    with pytest.raises(InvalidRequest, match=r"PLAINFILM_URL: .*user name.*PLAINFILM_KEY") as refused:
        load_settings()
    assert "cret" not in refused.value.detail


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_slashes_at_the_end_of_an_address_do_no_harm(monkeypatch: pytest.MonkeyPatch, slashes: str) -> None:
    """Browsers add one when an address is copied."""
    monkeypatch.setenv("PLAINFILM_URL", f"https://films.example:8443{slashes}")
    assert load_settings().service_url == "https://films.example:8443"


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1:8000"), ("::1", "[::1]:8000")])
def test_an_address_is_told_as_browsers_take_it(tmp_path: Path, host: str, address: str) -> None:
    """One of IPv6 in brackets."""
    assert Settings(home=tmp_path, host=host).service_url == f"http://{address}"


def test_a_budget_holds_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less is refused by its name."""
    monkeypatch.setenv("PLAINFILM_MAX_UPLOAD_BYTES", str(2**26))
    monkeypatch.setenv("PLAINFILM_UPLOAD_BUDGET_BYTES", str(2**26 - 1))
    with pytest.raises(InvalidRequest, match=r"PLAINFILM_UPLOAD_BUDGET_BYTES: .*PLAINFILM_MAX_UPLOAD_BYTES"):
        load_settings()
    monkeypatch.setenv("PLAINFILM_UPLOAD_BUDGET_BYTES", str(2**26))
    assert load_settings().upload_budget_bytes == 2**26


@pytest.mark.parametrize(
    ("name", "value"),
    [("redis_url", "foo"), ("redis_url", ""), ("redis_url", "redis://:se/cret@h:1/0"), ("database_url", "s3cret"),
     ("database_url", "postgresql://u:secret@h:port/d"), ("model_dir", ""), ("session_secret", "")],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Before anything is started that would ask it for ever."""
    monkeypatch.setenv(f"PLAINFILM_{name.upper()}", value)
    with pytest.raises(InvalidRequest, match=f"PLAINFILM_{name.upper()}: it") as refused:
        load_settings()
    assert "cret" not in refused.value.detail


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("films.example", "films.example")],  # noqa: S104  only read
)
def test_a_server_at_all_addresses_is_reached_by_one(tmp_path: Path, host: str, reached: str) -> None:
    """No browser opens http://0.0.0.0; PLAINFILM_URL, where it is set, is what is shown."""
    settings = Settings(home=tmp_path, host=host, port=8001)
    assert settings.service_url == settings.local_url == f"http://{reached}:8001"
    assert settings.model_copy(update={"url": "https://films.example/"}).service_url == "https://films.example"


def test_a_misspelt_variable_is_told_with_the_one_that_was_meant() -> None:
    """Those of training and of the tests are none of ours."""
    names = [
        "PLAINFILM_PROT",
        "PLAINFILM_PORT",
        "PLAINFILM_XYZZY",
        "PLAINFILM_DATA",
        "PLAINFILM_TEST_REDIS_URL",
        "PATH",
        "plainfilm_home",
    ]
    assert find_unknown(names) == [
        "there is no setting PLAINFILM_PROT; did you mean PLAINFILM_PORT?",
        "there is no setting PLAINFILM_XYZZY",
        "there is no setting plainfilm_home; did you mean PLAINFILM_HOME?",
    ]


@pytest.mark.parametrize("name", ["lease_s", "aged_after_s", "ring_after_s", "run_limit_s", "orphan_after_s"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e12])
def test_a_time_that_no_date_can_hold_is_refused(name: str, value: float) -> None:
    """The worker would look alive, and fail at each film."""
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


@pytest.mark.parametrize(
    ("host", "is_open"),
    [("127.0.0.1", False), ("127.8.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True),  # noqa: S104
     ("::", True), ("10.0.0.7", True), ("xray.example", True)],
)  # fmt: skip
def test_whether_others_reach_the_server(host: str, *, is_open: bool) -> None:
    """By anything but loopback; of a name we cannot tell, and say so."""
    assert Settings(host=host).listens_openly is is_open
