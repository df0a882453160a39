"""`plainfilm`: what is not named is not loaded, and what goes wrong is one line."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner, Result

from shared import cli
from shared.db import audit, keys, schema
from shared.db.engine import Database, make_engine
from shared.db.tables import AuditEvent, Job
from shared.domain import Role
from shared.errors import NotAllowed
from tests.jobs import make_job
from tests.webhooks import make_webhook

HEAVY = ("tensorflow", "keras", "flask", "sklearn", "celery", "sqlalchemy")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test looks into the developer's home."""
    monkeypatch.setenv("PLAINFILM_HOME", str(tmp_path))
    for name in ("PLAINFILM_KEY", "PLAINFILM_DATABASE_URL", "PLAINFILM_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str) -> Result:
    """In this process."""
    return CliRunner().invoke(cli.cli, arguments)


def start(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """In a process of its own; `code` runs before."""
    program = f"import sys\n{code}\nfrom shared import cli\nsys.argv[1:] = {list(arguments)!r}\n"
    program += f"try:\n    cli.main()\nfinally:\n    print([m for m in {HEAVY!r} if m in sys.modules])\n"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_help_loads_nothing_heavy() -> None:
    """Every command is listed, none of their libraries is imported."""
    found = start("--help")
    assert found.returncode == 0
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["train", "evaluate", "samples", "crossval", "model"])
def test_help_of_a_workshop_command_loads_no_tensorflow(name: str) -> None:
    """It takes TensorFlow 5 s of CPU to be imported; a help text needs none of it."""
    found = start(name, "--help")
    assert found.returncode == 0
    assert found.stdout.splitlines()[-1] == "[]"


def test_a_mistyped_recipe_is_refused_before_tensorflow_loads() -> None:
    """The sentence comes at once."""
    found = start("train", "--recipe", "defualt")
    assert found.returncode == 1
    assert found.stderr.startswith("plainfilm: There is no recipe 'defualt'")
    assert found.stdout.splitlines()[-1] == "[]"


def test_help_lists_every_command() -> None:
    """Ours and those of the entry points, by name, each with a line."""
    found = run("--help")
    names = {"up", "doctor", "classify", "key"} | set(cli._entry_points())
    listed = {line.split()[1] for line in found.output.splitlines() if line.startswith("│ ") and len(line.split()) > 2}
    assert names <= listed
    assert set(cli._entry_points()) == cli.HELP.keys()


def test_every_entry_point_can_be_named() -> None:
    """The distribution's metadata and pyproject agree; the names lead to objects of our packages."""
    points = importlib.metadata.entry_points(group=cli.GROUP)
    assert {point.name for point in points} >= {"web", "worker", "db", "audit", "train"}
    assert all(point.module.split(".")[0] in ("web", "worker", "shared", "training") for point in points)


def test_a_named_command_is_loaded_and_run(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`db current` on a migrated database: same revision twice, exit 0."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    found, head = run("db", "current"), schema.HEAD
    assert (found.exit_code, found.output) == (0, f"database {head}, build {head}\n")


def test_a_groups_help_lists_its_commands() -> None:
    """`plainfilm db --help` is db's own help."""
    found = run("db", "--help")
    assert found.exit_code == 0
    assert "upgrade" in found.output


def test_a_missing_extra_is_one_helpful_line() -> None:
    """Which library, and the command that installs it; no traceback."""
    found = start("web", "run", code="sys.modules['web.cli'] = None")
    assert found.returncode == 1
    assert found.stderr.startswith("'web' needs 'web.cli': pip install '.[web]' in the checkout")


def test_a_missing_extra_does_not_spoil_the_help() -> None:
    """An install without training still lists its commands."""
    found = start("--help", code="sys.modules['training.cli'] = sys.modules['worker.cli'] = None")
    assert found.returncode == 0
    assert not found.stderr
    assert "train" in found.stdout


def test_an_unknown_command_is_refused() -> None:
    """With status 2, as commands do."""
    found = run("clasify")
    assert found.exit_code == 2


def test_an_expected_failure_is_one_line() -> None:
    """Without a key there is nothing to send: said in a sentence, exit 1."""
    found = start("classify", "x.png")
    assert found.returncode == 1
    assert found.stderr == "plainfilm: No key: set PLAINFILM_KEY, or start the service here with `plainfilm up`.\n"


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("OSError(28, 'No space left on device', 'x/y.npz')", "x/y.npz: No space left"),
        ("OSError('cut off')", "cut off"),
    ],
)
def test_a_disk_that_fails_is_one_line(failure: str, said: str) -> None:
    """The file and what the system says of it; no traceback."""
    code = f"import shared.settings\ndef fail():\n    raise {failure}\nshared.settings.load_settings = fail"
    found = start("doctor", code=code)
    assert found.returncode == 1
    assert found.stderr.startswith(f"plainfilm: {said}")
    assert len(found.stderr.splitlines()) == 1


def test_a_bad_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named."""
    monkeypatch.setenv("PLAINFILM_PORT", "many")
    found = start("doctor")
    assert found.returncode == 1
    assert found.stderr.startswith("plainfilm: Settings cannot be used: PLAINFILM_PORT: ")
    assert len(found.stderr.splitlines()) == 1


def test_a_misspelt_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command goes on."""
    monkeypatch.setenv("PLAINFILM_HOOM", "/x")
    found = start("--help")
    assert found.returncode == 0
    assert found.stderr == "plainfilm: there is no setting PLAINFILM_HOOM; did you mean PLAINFILM_HOME?\n"


def test_a_key_is_made_and_its_link_printed(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`key make` prints a key that `key link` can use."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    made = run("key", "make", "--role", "admin").output.strip()
    monkeypatch.setenv("PLAINFILM_KEY", made)
    assert run("key", "link").output.startswith("http://127.0.0.1:8000/enter/")


def test_without_a_key_a_link_is_not_made_and_the_next_step_is_told(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where web and workers were started by hand: nothing has made an admin key yet."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("PLAINFILM_HOME", str(tmp_path / "new"))
    found = start("key", "link")
    assert found.returncode == 1
    assert "plainfilm key make --role admin" in found.stderr


def test_a_link_has_the_rights_of_the_key_that_it_is_made_for(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its id, since its secret was shown once; not of one that was revoked, or never was."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    key_id = run("key", "make", "--role", "reviewer").output.split("_")[1]
    token = run("key", "link", key_id).output.strip().rpartition("/")[2]
    database = Database(make_engine(sqlite_url))
    with database.begin() as session:
        assert keys.use_link(session, token, database.now(session)) == keys.Principal(key_id, "default", "reviewer")
    run("key", "revoke", key_id)
    for sought in (key_id, "0" * 12):
        found = run("key", "link", sought)
        assert (found.exit_code, "enter" in found.output) == (1, False)


@pytest.mark.parametrize("role", list(Role))
def test_a_key_of_every_role_can_be_made(sqlite_url: str, monkeypatch: pytest.MonkeyPatch, role: Role) -> None:
    """The database knows the same words."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    assert run("key", "make", "--role", role.value).output.startswith("pf_")


def test_an_unknown_role_is_refused(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a wrong option, before the database sees it."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    assert run("key", "make", "--role", "owner").exit_code == 2


def test_a_tenant_and_its_keys_from_first_to_last(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, listed, revoked: after that neither the key nor a link that was made before gets in."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    assert run("tenant", "make", "ward-7").output == "ward-7 is a tenant\n"
    assert run("tenant", "list").output == "default\nward-7\n"
    made = run("key", "make", "--tenant", "ward-7", "--role", "reviewer").output.strip()
    key_id = made.split("_")[1]
    (line,) = run("key", "list").output.splitlines()
    assert line.startswith(f"{key_id}  ward-7  reviewer  made ")
    assert line.endswith("valid")
    assert made.split("_", 2)[2] not in line
    monkeypatch.setenv("PLAINFILM_KEY", made)
    token = run("key", "link").output.strip().rpartition("/")[2]
    assert run("key", "revoke", key_id).output == f"{key_id} is revoked\n"
    assert "  revoked 20" in run("key", "list").output
    database = Database(make_engine(sqlite_url))
    for get_in in (lambda s: keys.get_principal(s, made), lambda s: keys.use_link(s, token, database.now(s))):
        with database.begin() as session, pytest.raises(NotAllowed):
            get_in(session)
    with database.read() as session:
        actions = session.scalars(
            select(AuditEvent.action).where(AuditEvent.stream == "ward-7").order_by(AuditEvent.seq)
        )
        assert list(actions) == ["tenant_made", "key_made", "key_revoked"]
        assert audit.verify(session) == (3, None)


def test_who_revokes_a_key_is_told_what_goes_on(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that somebody gave with it is told of jobs as before; of the address the host alone is printed."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    key_id = run("key", "make", "--role", "admin").output.split("_")[1]
    make_webhook(Database(make_engine(sqlite_url)), "https://ris.example/hook?token=x")
    said = run("key", "revoke", key_id).output
    assert said.splitlines()[0] == f"{key_id} is revoked"
    assert said.endswith("of jobs that end: ris.example\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tenant", "make", "default"), "The tenant 'default' already exists."),
        (("tenant", "make", "../films"), "'../films' is not a valid tenant name"),
        (("key", "make", "--tenant", "wrad"), "There is no tenant 'wrad'; `plainfilm tenant make wrad` makes one."),
        (("key", "revoke", "0123456789ab"), "There is no key '0123456789ab'; `plainfilm key list` prints them."),
    ],
)
def test_what_cannot_be_made_or_revoked_is_said(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    """In one sentence, exit 1."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    found = start(*words)
    assert found.returncode == 1
    assert found.stderr.startswith(f"plainfilm: {said}")
    assert len(found.stderr.splitlines()) == 1


def test_a_key_is_revoked_once(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment that stands is the first."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    key_id = run("key", "make").output.split("_")[1]
    run("key", "revoke", key_id)
    before = run("key", "list").output
    assert start("key", "revoke", key_id).stderr == f"plainfilm: The key {key_id} is already revoked.\n"
    assert run("key", "list").output == before


def test_an_audit_chain_that_holds_is_status_0(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the number of events."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    make_job(Database(make_engine(sqlite_url)))
    found = run("audit", "verify")
    assert (found.exit_code, found.output) == (0, "1 events, the chain holds\n1 jobs, each as the chain says\n")


def test_a_row_that_the_audit_contradicts_is_status_1(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain itself holds, and the job is named."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    database = Database(make_engine(sqlite_url))
    job_id = make_job(database)
    with database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(pixels_sha256="0" * 64))
    found = run("audit", "verify")
    assert found.exit_code == 1
    assert "1 events, the chain holds" in found.output
    assert f"job {job_id} is not as the chain says: its pixels_sha256 is" in found.output


def test_a_broken_audit_chain_is_status_1(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the place of the break."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", sqlite_url)
    database = Database(make_engine(sqlite_url))
    make_job(database)
    with database.begin() as session:
        head = session.get_one(audit.AuditHead, "default")
        head.hash = "f" * 64
    found = run("audit", "verify")
    assert found.exit_code == 1
    assert "broken at default event 2" in found.output


def test_an_audit_chain_that_cannot_be_read_is_status_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tables is no proof that anything was changed."""
    monkeypatch.setenv("PLAINFILM_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    assert run("audit", "verify").exit_code == 2


@pytest.mark.parametrize(
    "words",
    [("audit", "verify"), ("db", "current"), ("key", "make"), ("key", "list"), ("key", "link"), ("tenant", "list")],
    ids=" ".join,
)
def test_a_home_without_a_database_is_said_and_stays_empty(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A wrong PLAINFILM_HOME, most often: an empty database made there would look like lost films."""
    found = start(*words)
    assert found.returncode == (2 if words[0] == "audit" else 1)
    assert found.stderr.endswith(f"No database in {tmp_path}; set PLAINFILM_HOME or run `plainfilm up`.\n")
    assert len(found.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_tables_is_said(tmp_path: Path) -> None:
    """With the command that makes them."""
    (tmp_path / "plainfilm.db").touch()
    found = start("key", "list")
    assert found.returncode == 1
    assert "it lacks tables or columns of this build: run `plainfilm up` or `plainfilm db upgrade`" in found.stderr


def test_an_unknown_priority_is_refused_before_a_film_is_sent(tmp_path: Path) -> None:
    """As a wrong option, with those there are."""
    found = run("classify", str(tmp_path), "--priority", "urgent")
    assert found.exit_code == 2
    assert "routine" in found.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("webhook", "list"), "No key: set PLAINFILM_KEY"),
        (("webhook", "run"), "Webhooks are off; the service's operator switches them on by PLAINFILM_WEBHOOKS=true."),
    ],
)
def test_webhooks_that_cannot_be_are_one_line(words: tuple[str, ...], said: str) -> None:
    """Without a key, or where the operator has not asked for them."""
    found = start(*words)
    assert found.returncode == 1
    assert found.stderr.startswith(f"plainfilm: {said}")
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("webhook", "replay", "w", "--failed-since"), ("jobs", "list", "--since"), ("jobs", "list", "--until"),
        ("again", "failed", "--since"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("moment", ["yesterday", "2026-11-31", "1700000000"])
def test_what_is_no_time_is_told_with_how_to_write_one(words: tuple[str, ...], moment: str) -> None:
    """By each command that takes one, before the service is asked; seconds since 1970 are none."""
    found = run(*words, moment)
    assert found.exit_code == 2
    said = " ".join(found.output.replace("│", " ").split())
    assert f"'{moment}' is not a time; write it as 2026-11-29, 2026-11-29T08:00 (both in UTC) or" in said


@pytest.mark.parametrize("words", [("w",), ("w", "d", "--failed-since", "2026-11-29")])
def test_a_replay_names_one_delivery_or_a_time(words: tuple[str, ...]) -> None:
    """Neither nothing nor both."""
    found = run("webhook", "replay", *words)
    assert found.exit_code == 2
    assert "and not both" in found.output
