"""All settings of a process, read from the environment once, frozen, and passed down.

`load_settings` is the only reader of the environment. A field `lease_s` is set by `PLAINFILM_LEASE_S`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import quote, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from shared.errors import InvalidRequest

PREFIX: Final = "PLAINFILM_"

OTHER_VARIABLES: Final = re.compile("DATA|TEST_.*")
"""Variables that training and the tests read; they are no settings."""

DATABASES: Final = frozenset({"postgresql", "postgres", "postgresql+psycopg", "sqlite", "sqlite+pysqlite"})
BROKERS: Final = frozenset({"redis", "rediss"})
NO_BROKER: Final = "No broker is known: set PLAINFILM_REDIS_URL, or start everything with `plainfilm up`."


def default_home() -> Path:
    """Return `var/` of a source checkout, else `~/.local/share/plainfilm`, whatever the working directory."""
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "var"
    return Path.home() / ".local" / "share" / "plainfilm"


LONGEST_S: Final = 366 * 86_400.0
"""Much longer times would overflow when added to a date."""

Seconds = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)]


class Settings(BaseModel):
    """Every setting, with its unit in its name and its default beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default_factory=default_home, description="folder of all state: database, films, keys, logs")
    port: Annotated[int, Field(ge=1, le=65535, description="port of the web server, bound to `host`")] = 8000
    host: str = Field(default="127.0.0.1", description="address the web server binds; loopback unless set")
    url: HttpUrl | None = Field(default=None, description="service the client commands talk to; no path")
    key: SecretStr | None = Field(default=None, description="API key the client commands send")
    database_url: SecretStr | None = Field(
        default=None, description="SQLAlchemy URL; SQLite in `home` unless set. PostgreSQL in UTF8, or in SQL_ASCII"
    )
    redis_url: SecretStr | None = Field(default=None, description="Redis-protocol broker; an embedded one unless set")
    session_secret: SecretStr | None = Field(
        default=None, description="signs browser sessions; made in `home` unless set"
    )
    model_dir: Path | None = Field(
        default=None,
        description="a model's folder, as `model export` writes it; the shipped model unless set",
    )
    engine: Literal["auto", "keras", "openvino"] = Field(
        default="auto", description="what runs the model; `auto` takes TensorFlow on a GPU and OpenVINO on CPUs"
    )
    engine_threads: int | None = Field(
        default=None, ge=1, le=256, description="cores that one worker computes on; all that it may use unless set"
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="workers that `plainfilm up` starts; they share the cores unless told otherwise",
    )
    precision: Literal["auto", "f32", "bf16", "int8"] = Field(
        default="auto",
        description="arithmetic of the network; `auto` takes int8 (OpenVINO only; bf16 is for TensorFlow) on CPUs with "
        "instructions for it, and only if the golden films get the same answers in it",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="lowest level logged")

    max_upload_bytes: int = Field(
        default=32 * 2**20,
        ge=1024,
        le=64 * 2**20,  # decode.MAX_INPUT_BYTES, which is above this floor
        description="largest upload accepted; at most 67108864, which is all that the decoder takes",
    )
    upload_budget_bytes: int = Field(
        default=512 * 2**20,
        validate_default=True,
        description="bytes of uploads a web process takes in at once, room for one at least; others are answered 503",
    )
    decoders: int | None = Field(
        default=None, ge=1, description="decoder children at once; the number of cores unless set"
    )
    web_workers: int = Field(default=1, ge=1, description="web processes; several are watched by gunicorn")
    secure_cookies: bool = Field(default=False, description="set it if a proxy in front of the service terminates TLS")

    batch_limit: int | None = Field(
        default=None, ge=1, le=256, description="films claimed at once; 8 on a CPU and 32 on a GPU unless set"
    )
    lease_s: Seconds = Field(
        default=10.0, description="a claimed film returns to the queue this long after its worker's last sign"
    )
    aged_after_s: Seconds = Field(
        default=600.0, description="a film of a lower priority that waits longer gets a turn of its own"
    )
    poll_s: float = Field(default=2.0, gt=0, le=10, description="how often a worker looks for due films without a ring")
    ring_after_s: Seconds = Field(default=10.0, description="a queued film unrung for so long is rung again")
    run_limit_s: Seconds = Field(default=60.0, description="a batch that takes longer ends its process")
    queue_limit: int = Field(default=50_000, ge=1, description="films that may wait; more are answered 503")
    tenant_queue_limit: int = Field(
        default=20_000, ge=1, description="films of one tenant that may wait; more are answered 429"
    )
    waiter_limit: int = Field(
        default=500,
        ge=1,
        description="requests that may wait or listen at once in a web process; more are answered 503",
    )
    tenant_waiter_limit: int = Field(
        default=400, ge=1, description="requests of one tenant that may wait or listen; more are answered 429"
    )
    min_free_bytes: int = Field(
        default=256 * 2**20,
        ge=0,
        description="room that must be left on the disks of `home` and its films; with less, films are answered 507",
    )
    max_attempts: int = Field(default=3, ge=1, description="claims of one film before it is failed as poisoned")
    retain_days: float | None = Field(
        default=None,
        gt=0,
        le=36_500,
        allow_inf_nan=False,
        description="jobs that ended so many days ago are deleted, film and result with them; kept for good unless set",
    )
    orphan_after_s: Seconds = Field(default=3600.0, description="stored films without a job row are removed after this")
    webhooks: bool = Field(
        default=False, description="notify the addresses that admins register of ended jobs; `plainfilm up` starts that"
    )
    webhooks_private: bool = Field(
        default=False, description="allow webhook addresses on this machine and in private networks, and plain HTTP"
    )

    @field_validator("upload_budget_bytes")
    @classmethod
    def _holds_an_upload(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("max_upload_bytes", 0):
            raise ValueError("less than one upload of PLAINFILM_MAX_UPLOAD_BYTES")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if value == "":
            raise ValueError("it is empty; set it, or leave it out")
        return value

    @field_validator("url")
    @classmethod
    def _without_path(cls, value: HttpUrl | None) -> HttpUrl | None:
        return _check_service_url(value)

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        return _check_scheme(value, DATABASES, "postgresql:// or sqlite:///")

    @field_validator("redis_url")
    @classmethod
    def _known_broker(cls, value: SecretStr | None) -> SecretStr | None:
        return _check_scheme(value, BROKERS, "redis:// or rediss://")

    @property
    def sql_url(self) -> str:
        """The database's SQLAlchemy URL; plain `postgresql://` means psycopg 3."""
        if self.database_url is None:
            return f"sqlite:///{quote(str(self.home / 'plainfilm.db'))}"
        url = self.database_url.get_secret_value()
        for plain in ("postgresql://", "postgres://"):
            if url.startswith(plain):
                return "postgresql+psycopg://" + url.removeprefix(plain)
        return url

    @property
    def blobs(self) -> Path:
        """The folder of the stored films."""
        return self.home / "films"

    @property
    def run(self) -> Path:
        """The folder of files that exist only while the service runs."""
        return self.home / "run"

    @property
    def key_file(self) -> Path:
        """The file of the admin key, which the first start makes (mode 0600)."""
        return self.home / "api-key"

    @property
    def broker_url(self) -> str | None:
        """The broker's URL from the environment, else that of the service running in this home, else None."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        return _read(self.run / "redis-url")

    @property
    def service_url(self) -> str:
        """The service's URL from the environment, else that of the one running in this home, else the default."""
        if self.url is not None:
            return str(self.url).rstrip("/")
        return self.running_url or self.local_url

    @property
    def running_url(self) -> str | None:
        """The URL of the service that runs in this home; None where none does."""
        return _read(self.run / "url")

    @property
    def local_url(self) -> str:
        """The web server's URL from this machine: by loopback where the server listens at all addresses."""
        loopback = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host)  # noqa: S104  only compared
        return f"http://{loopback}:{self.port}" if loopback else f"http://{self.listens_at}"

    @property
    def listens_openly(self) -> bool:
        """Whether other machines may reach the web server by the address it binds."""
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    @property
    def listens_at(self) -> str:
        """Host and port as in a URL: an IPv6 address is in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def client_key(self) -> str | None:
        """The key from the environment, else the one in this home, else None."""
        return self.key.get_secret_value() if self.key is not None else _read(self.key_file)


def _check_scheme(value: SecretStr | None, schemes: frozenset[str], examples: str) -> SecretStr | None:
    """Check an address's scheme and port; no message repeats the address, which may hold a password."""
    scheme, separator, _ = value.get_secret_value().partition("://") if value else ("", "", "")
    if value and not (separator and scheme in schemes):
        raise ValueError(f"it must begin with {examples}")
    if value and not _has_usable_port(value.get_secret_value()):
        raise ValueError("its port is not a number, or its password has characters that must be percent-encoded (%XX)")
    return value


def _check_service_url(url: HttpUrl | None) -> HttpUrl | None:
    """Check that nothing is around a service's host and port; a user name would go in the place of the API key."""
    if url is None:
        return None
    if url.username or url.password:
        raise ValueError("it must not contain a user name or password; the API key is PLAINFILM_KEY")
    if (url.path or "").strip("/") or url.query is not None or url.fragment is not None:
        raise ValueError(
            "it must end after the host or port, as in https://films.example; "
            "plainfilm serves at the root of a host, not below a path: give it a host name or a port of its own"
        )
    return url


def _has_usable_port(url: str) -> bool:
    try:
        urlsplit(url).port  # noqa: B018  the property parses the port
    except ValueError:
        return False
    return True


def find_unknown(names: Iterable[str] = os.environ) -> list[str]:
    """Return a sentence for each variable that looks like a setting but is none, with the likely intended name.

    That includes a name in lower case: names are case-sensitive.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return [
        _unknown(name)
        for name in sorted(names)
        if name.upper().startswith(PREFIX) and name not in known and not OTHER_VARIABLES.fullmatch(name[len(PREFIX) :])
    ]


def _unknown(name: str) -> str:
    known = [name.upper() for name in Settings.model_fields]
    meant = difflib.get_close_matches(name[len(PREFIX) :].upper(), known, n=1)
    return f"there is no setting {name}" + (f"; did you mean {PREFIX}{meant[0]}?" if meant else "")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def load_settings() -> Settings:
    """Read and check the environment.

    Raises:
        InvalidRequest: a variable has a value that cannot be used; the message names it.
    """
    variables = {name: PREFIX + name.upper() for name in Settings.model_fields}
    try:
        settings = Settings.model_validate(
            {name: os.environ[variable] for name, variable in variables.items() if variable in os.environ}
        )
    except ValidationError as error:
        parts = [
            f"{PREFIX}{e['loc'][0]!s}".upper() + f": {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        ]
        raise InvalidRequest("Settings cannot be used: " + "; ".join(parts)) from None
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})
