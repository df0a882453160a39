"""The containers as far as they can be judged without an engine: compose file, Dockerfile, secrets, health checks."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml
from sqlalchemy import insert

from shared.db import tables
from shared.db.engine import Database, make_engine
from shared.settings import Settings
from shared.supervisor import STOP_GRACE_S
from worker import alive
from worker.boot import worker_name
from worker.runtime import END_WAIT_S

Json = dict[str, Any]  # Any: YAML's own nesting

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "tests" / "data" / "compose-spec.json"
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>[A-Z_]+)(?P<rest>[^}]*)\}")
FROM = re.compile(r"^FROM (?P<image>\S+)(?: AS (?P<stage>\S+))?$")


@pytest.fixture(scope="module")
def compose() -> Json:
    """docker-compose.yml with its anchors resolved."""
    loaded: Json = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def services(compose: Json) -> Json:
    """Its services by name."""
    named: Json = compose["services"]
    return named


@pytest.fixture(scope="module")
def stages() -> dict[str, list[str]]:
    """The Dockerfile's stages: name -> its own instructions, `FROM` first, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in (line.strip() for line in text.splitlines()):
        if line.startswith("FROM "):
            instructions: list[str] = []
            found[line.rsplit(" AS ", 1)[1]] = instructions
        if line and not line.startswith("#"):
            instructions.append(line)
    return found


def test_compose_file_is_valid_by_the_compose_specification(compose: Json) -> None:
    """docker-compose.yml fits the schema that Compose itself checks against."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    faults = [f"{error.json_path}: {error.message}" for error in _validator(schema).iter_errors(compose)]
    assert not faults


def test_schema_refuses_a_misspelt_key(compose: Json) -> None:
    """The schema is one that bites: an unknown key of a service is a fault."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    broken = {**compose, "services": {"web": {**compose["services"]["web"], "helthcheck": {}}}}
    assert list(_validator(schema).iter_errors(broken))


def test_vendored_schema_is_the_recorded_one() -> None:
    """The schema's bytes are those whose source and licence tests/data/README.md names."""
    recorded = (SCHEMA.parent / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() in recorded


def test_every_service_is_checked_or_ends(services: Json) -> None:
    """Each service has a health check, or is one that runs once and is waited for until it succeeded."""
    waited_for = {
        name
        for service in services.values()
        for name, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    for name, service in services.items():
        is_checked = "test" in service["healthcheck"]
        assert is_checked != (name in waited_for), name
        assert (service["restart"] == "no") == (name in waited_for), name


def test_web_and_workers_wait_for_the_migration(services: Json) -> None:
    """Nobody of ours meets a database of another schema: the migration has succeeded before they start."""
    assert services["migrate"]["command"] == ["plainfilm", "db", "upgrade"]
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for name in ("web", "worker", "worker-gpu"):
        waits = services[name]["depends_on"]
        assert waits["migrate"]["condition"] == "service_completed_successfully", name
        assert waits["valkey"]["condition"] == "service_healthy", name


def test_a_worker_goes_before_it_is_killed(services: Json) -> None:
    """It waits less for what it has in hand than a supervisor waits for it, and a container's engine waits longest."""
    for name in ("worker", "worker-gpu"):
        grace_s = float(services[name]["stop_grace_period"].removesuffix("s"))
        assert END_WAIT_S < STOP_GRACE_S < grace_s, name


def test_workers_can_be_scaled(services: Json) -> None:
    """`--scale worker=4` works: no worker has a fixed name, a published port or a fixed host name."""
    for name in ("worker", "worker-gpu"):
        assert not {"container_name", "ports", "hostname"} & services[name].keys(), name


def test_gpu_worker_starts_only_when_asked_for(services: Json) -> None:
    """The GPU is reserved by one service, behind the profile `gpu`."""
    with_profile = {name for name, service in services.items() if service.get("profiles") == ["gpu"]}
    assert with_profile == {"worker-gpu"}
    device = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert device["driver"] == "nvidia"
    assert "gpu" in device["capabilities"]


def test_only_loopback_ports_are_published(services: Json) -> None:
    """No port is open to the network, and only the web service has one at all."""
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published.keys() == {"web"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_only_web_and_webhooks_reach_beyond_the_inner_network(compose: Json) -> None:
    """Databases and workers sit on a network without a way out; the two others have no way to each other by theirs."""
    assert compose["networks"]["inside"] == {"internal": True}
    beyond = {name: set(service["networks"]) - {"inside"} for name, service in compose["services"].items()}
    assert {name: networks for name, networks in beyond.items() if networks} == {"web": {"front"}, "webhooks": {"out"}}


def test_webhooks_are_sent_only_when_asked_for(services: Json) -> None:
    """By a profile of their own, with what the web service takes them by."""
    assert services["webhooks"]["profiles"] == ["webhooks"]
    assert services["webhooks"]["command"] == ["plainfilm", "webhook", "run"]
    assert services["webhooks"]["environment"]["PLAINFILM_WEBHOOKS"] == "true"
    assert services["web"]["environment"]["PLAINFILM_WEBHOOKS"] == "${PLAINFILM_WEBHOOKS:-false}"
    assert services["webhooks"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_web_and_workers_share_one_home(services: Json) -> None:
    """A film that the web service stores is where a worker looks for it."""
    for name in ("web", "worker", "worker-gpu", "webhooks"):
        assert services[name]["volumes"] == ["home:/data"], name
        assert "PLAINFILM_HOME" not in services[name]["environment"], "the image says /data"


def test_our_services_run_without_privileges(services: Json, stages: dict[str, list[str]]) -> None:
    """What we build drops all capabilities and runs as one fixed user that is not root."""
    for name, service in services.items():
        if "build" not in service:
            continue
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert _last(stages, service["build"]["target"], "USER") == "USER 10001:10001", name


def test_environment_names_are_settings(services: Json) -> None:
    """Each PLAINFILM_ variable of the compose file and of .env.example is a field of Settings."""
    known = {f"PLAINFILM_{field.upper()}" for field in Settings.model_fields}
    given = {name for service in services.values() for name in service.get("environment", {})}
    assert {name for name in given | _example_names() if name.startswith("PLAINFILM_")} <= known


def test_any_other_setting_comes_from_a_file_that_need_not_be_there(services: Json) -> None:
    """Web, workers and the migration read the same one; git and the images leave it out."""
    ours = [service for service in services.values() if "build" in service]
    assert len(ours) == 5
    assert all(service["env_file"] == [{"path": "plainfilm.env", "required": False}] for service in ours)
    assert "plainfilm.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_missing_secrets_stop_compose_with_a_message(services: Json) -> None:
    """A secret is never in the file and has no default: Compose stops and says which file to copy."""
    for text in _texts(services):
        for variable in VARIABLE.finditer(text):
            is_secret = variable["name"].endswith(("PASSWORD", "SECRET", "KEY"))
            assert variable["rest"].startswith(":?" if is_secret else ":-"), text
            assert not is_secret or ".env.example" in variable["rest"], text


def test_env_example_names_what_compose_reads_and_holds_no_secret(services: Json) -> None:
    """.env.example has each variable of the compose file, its secrets empty; git and the images leave .env out."""
    read = {variable["name"] for text in _texts(services) for variable in VARIABLE.finditer(text)}
    assert _example_names() == read
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert re.findall(r"^(\w*(?:PASSWORD|SECRET|KEY)\w*)=(.+)$", text, re.MULTILINE) == []
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"


def test_images_are_pinned_to_a_major_version(services: Json, stages: dict[str, list[str]]) -> None:
    """No image floats: each of another's has a tag that begins with a number."""
    images = {service["image"] for service in services.values() if "image" in service}
    images |= {_parent(stages, name) for name in stages if _parent(stages, name) not in stages}
    assert {image.partition(":")[0] for image in images} == {"postgres", "valkey/valkey", "python"}
    assert all(re.match(r"[\w/]+:\d", image) for image in images), images


def test_build_targets_exist(services: Json, stages: dict[str, list[str]]) -> None:
    """Each target that compose builds is a stage of the Dockerfile."""
    targets = {service["build"]["target"] for service in services.values() if "build" in service}
    assert targets == {"web", "worker", "worker-gpu"}
    assert targets <= stages.keys()


def test_copied_paths_exist_and_are_let_through(stages: dict[str, list[str]]) -> None:
    """Each COPY has its source in the checkout, unhidden by .dockerignore, or in an earlier stage."""
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    copied: set[str] = set()
    for words in (line.split()[1:] for lines in stages.values() for line in lines if line.startswith("COPY ")):
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages, words
        else:
            copied |= set(words[:-1])
    assert copied == allowed
    assert all((ROOT / path).exists() for path in copied)


def test_web_image_has_no_tensorflow_and_no_image_has_two(stages: dict[str, list[str]]) -> None:
    """Each environment is locked and has one extra; the web's is the one without TensorFlow."""
    extras: dict[str, set[str]] = {}
    for name, lines in stages.items():
        syncs = [line for line in lines if line.startswith("RUN uv sync ")]
        assert all("--frozen" in line and "--no-dev" in line and "--all-extras" not in line for line in syncs), name
        if syncs:
            extras[name] = {extra for line in syncs for extra in re.findall(r"--extra (\S+)", line)}
    assert extras == {"build-web": {"web"}, "build-worker": {"worker"}, "build-worker-gpu": {"gpu"}}


@pytest.mark.parametrize("target", ["web", "worker", "worker-gpu"])
def test_final_images_hold_no_build_tools(stages: dict[str, list[str]], target: str) -> None:
    """A final image is plain Python and the finished environment: nothing of the build is in its line."""
    line = list(_chain(stages, target))
    assert line[-1] == "python"
    assert not any(word in text for name in line for text in stages[name] for word in ("uv ", "pip ", "apt"))


@pytest.mark.parametrize("name", ["worker", "worker-gpu"])
def test_a_worker_without_a_child_is_started_again(services: Json, stages: dict[str, list[str]], name: str) -> None:
    """A solo pool dies with what computes in it, so Compose has to watch it."""
    command = json.loads(_last(stages, services[name]["build"]["target"], "CMD").removeprefix("CMD "))
    assert command == ["plainfilm", "worker", "run", "--pool", "solo"]
    assert "command" not in services[name]
    assert services[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["web", "worker", "worker-gpu"])
def test_image_and_compose_agree_on_health(services: Json, stages: dict[str, list[str]], name: str) -> None:
    """An image run by hand is checked by the same command as under compose."""
    of_image = _last(stages, services[name]["build"]["target"], "HEALTHCHECK").partition(" CMD ")[2]
    assert ["CMD", *json.loads(of_image)] == services[name]["healthcheck"]["test"]


def test_worker_is_healthy_while_it_polls(sqlite_url: str) -> None:
    """A fresh heartbeat of this host counts; one gone silent, or another host's, does not."""
    database = Database(make_engine(sqlite_url))
    assert not alive.is_alive(database)
    _beat(database, "another-host:7", silent_s=0)
    _beat(database, f"{socket.gethostname()}:8", silent_s=60)
    assert not alive.is_alive(database)
    _beat(database, worker_name(), silent_s=0)
    assert alive.is_alive(database)


def test_worker_health_command_answers_by_its_exit_status(sqlite_url: str, python: str, tmp_path: Path) -> None:
    """The command of the health check: 0 beside a living worker, 1 without, 1 and a line without a database."""
    command = [python, "-m", "worker.alive"]

    def run(url: str) -> subprocess.CompletedProcess[str]:
        environment = {"PLAINFILM_DATABASE_URL": url, "PLAINFILM_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run(sqlite_url).returncode == 1
    _beat(Database(make_engine(sqlite_url)), worker_name(), silent_s=0)
    assert run(sqlite_url).returncode == 0
    away = run(f"sqlite:///{tmp_path}/empty.db")
    assert (away.returncode, away.stderr.count("\n")) == (1, 1)


def _validator(schema: Json) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema)


def _chain(stages: dict[str, list[str]], name: str) -> Iterator[str]:
    """`name` and the stages it is built on, up to the one from a registry."""
    while name in stages:
        yield name
        name = _parent(stages, name)


def _parent(stages: dict[str, list[str]], name: str) -> str:
    found = FROM.match(stages[name][0])
    assert found, stages[name][0]
    return found["image"]


def _last(stages: dict[str, list[str]], name: str, instruction: str) -> str:
    """The instruction that is in force in the finished image."""
    for stage in _chain(stages, name):
        for line in reversed(stages[stage]):
            if line.startswith(f"{instruction} "):
                return line
    return ""


def _texts(value: object) -> Iterator[str]:
    """Every string inside a YAML value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _example_names() -> set[str]:
    return set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))


def _beat(database: Database, worker: str, *, silent_s: float) -> None:
    """A heartbeat row as a worker writes it."""
    with database.begin() as session:
        now = database.now(session)
        if session.get(tables.Model, "0" * 64) is None:
            model = {"weights_sha256": "0" * 64, "name": "none", "version": "0", "manifest": "{}", "registered_at": now}
            session.execute(insert(tables.Model), [model])
        row = {"worker": worker, "queues": "routine", "model_sha256": "0" * 64, "device": "cpu", "started_at": now}
        session.execute(insert(tables.WorkerHeartbeat), [{**row, "polled_at": now - timedelta(seconds=silent_s)}])
