"""The documents are true: what they name exists, and what exists is named.

In Markdown, commands are looked for in inline code and in blocks marked `sh`; other blocks are pictures or output.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from shared import audit_cli, errors, verdict, webhook_cli
from shared.cli import cli
from shared.db import cli as db_cli
from shared.db import webhook_tables  # noqa: F401  it adds its tables to those of `Base`
from shared.db.tables import Base
from shared.domain import ExplanationState, JobState
from shared.settings import Settings
from training.model_cli import model as model_cli
from web.cli import cli as web_cli
from web.present import CAUTIONS, REASONS
from worker.cli import cli as worker_cli

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ("docs/API", "docs/OPERATING", "docs/TRAINING")
DOCUMENTS = ("README", "ARCHITECTURE", "DECISIONS", "CONTRIBUTING", "SECURITY", "CHANGELOG", "MODEL_CARD", *GUIDES)
PACKAGES = ("shared", "web", "worker", "training", "migrations")
PLACE = re.compile(rf"(?<![\w/.-])(?:{'|'.join((*PACKAGES, 'tests'))})/[\w./-]*\w/?")
VARIABLE = re.compile(r"PLAINFILM_[A-Z_]*[A-Z]")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    """A document's text; empty while it is not written."""
    path = ROOT / f"{name}.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def all_text() -> str:
    """Every document, one after the other."""
    return "\n".join(read(name) for name in DOCUMENTS)


def code(text: str) -> Iterator[str]:
    """Each line of the `sh` blocks, without its comment, and each inline code."""
    for kind, block in BLOCK.findall(text):
        if kind == "sh":
            yield from (line.partition("#")[0] for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def setting_rows() -> list[str]:
    """The table of settings as it must stand in ARCHITECTURE.md."""
    return [
        f"| `PLAINFILM_{name.upper()}` | {_default(name)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def error_rows() -> list[str]:
    """The table of error codes as it must stand in ARCHITECTURE.md."""
    return [
        f"| `{error.code}` | {error.status} | {'yes' if error.retryable else 'no'} | {_first_line(error)} |"
        for error in errors.all_errors()
        if error.__module__ == errors.__name__
    ]


def floors() -> list[str]:
    """The floors inside `shared`, roof first, as import-linter enforces them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    found = next(contract for contract in contracts if contract.get("containers") == ["shared"])
    return [layer.replace(" | ", " · ") for layer in found["layers"]]


def commands() -> set[str]:
    """Every command of `plainfilm`, those of a group with the group's name before it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = set(project["entry-points"]["plainfilm.commands"]) | _names(cli)
    groups = {"db": db_cli.cli, "audit": audit_cli.cli, "web": web_cli, "worker": worker_cli, "model": model_cli}
    groups["webhook"] = webhook_cli.cli
    groups |= {group.name or "": group.typer_instance for group in cli.registered_groups if group.typer_instance}
    return (found - groups.keys()) | {f"{name} {inner}" for name, group in groups.items() for inner in _names(group)}


def documented_commands(text: str) -> set[str]:
    """What stands behind `plainfilm` in code: one word, or two where the first names a group."""
    groups = {name.partition(" ")[0] for name in commands() if " " in name}
    found: set[str] = set()
    for line in code(text):
        for words in re.findall(r"(?<![\w/-])(?:\.venv/bin/)?plainfilm ((?:[a-z]+(?![\w/.=:-]) ?)+)", line):
            first, *rest = words.split()
            found.add(f"{first} {rest[0]}" if first in groups and rest else first)
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_named_in_documents_exist(name: str) -> None:
    """Each path into the packages or the tests, in any document, is there."""
    named = {found.rstrip(".") for found in PLACE.findall(read(name))}
    assert not sorted(path for path in named if not (ROOT / path).exists())


def test_every_module_has_its_line_in_the_architecture() -> None:
    """ARCHITECTURE.md names every module; one that is added gets a line, one that goes takes it along."""
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and path.parent.name != "versions"
    }
    first_cells = set(re.findall(r"^\| `([\w/.]+\.py)` \|", read("ARCHITECTURE"), re.MULTILINE))
    assert modules == first_cells


def test_every_setting_is_documented_as_it_is() -> None:
    """The table of settings has each field of Settings with its default and its description."""
    assert re.findall(r"^\| `PLAINFILM_.*$", read("ARCHITECTURE"), re.MULTILINE) == setting_rows()


def test_no_document_names_an_unknown_setting() -> None:
    """Each PLAINFILM_ variable in a document is a setting, or one that training or the tests read."""
    known = {f"PLAINFILM_{name.upper()}" for name in Settings.model_fields}
    for path in (ROOT / "training" / "cli.py", ROOT / "tests" / "conftest.py"):
        known |= set(VARIABLE.findall(path.read_text(encoding="utf-8")))
    assert set(VARIABLE.findall(all_text())) <= known


def test_every_error_code_is_documented_as_it_is() -> None:
    """The table of errors has each code with its status, whether to try again, and its sentence."""
    rows = re.findall(r"^\| `\w+` \| \d{3} \|.*$", read("ARCHITECTURE"), re.MULTILINE)
    assert rows == error_rows()


def test_every_reason_is_documented_as_the_pages_tell_it() -> None:
    """The table of reasons has each code of `shared.verdict` with the sentence that the film page has for it."""
    codes = {value for name, value in vars(verdict).items() if name.isupper() and isinstance(value, str)}
    rows = re.findall(
        r"^\| `(\w+)` \| (`not_assessable`|`uncertain`|any) \| (.*) \|$", read("ARCHITECTURE"), re.MULTILINE
    )
    assert {code: sentence for code, _, sentence in rows} == {code: REASONS[code] for code in codes}
    assert {code for code, found, _ in rows if found == "any"} == CAUTIONS


def test_every_command_is_documented() -> None:
    """README.md and ARCHITECTURE.md together name every command of `plainfilm`."""
    assert commands() <= documented_commands(read("README") + read("ARCHITECTURE"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_named_in_documents_exist(name: str) -> None:
    """No document tells a reader to run a command that is not there."""
    groups = {command.partition(" ")[0] for command in commands()}
    assert documented_commands(read(name)) <= commands() | groups


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_named_in_documents_exist(name: str) -> None:
    """Each `make target` in a document's code is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {target for line in code(read(name)) for target in re.findall(r"(?:^|&& )make ([a-z][a-z-]*)", line)}
    assert named <= targets


def test_make_targets_of_the_first_page_are_explained() -> None:
    """`make` alone lists every target of the Makefile that a person calls."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))


def test_tables_are_documented() -> None:
    """The data section has a row for each table, and for no other."""
    section = read("ARCHITECTURE").partition("\n## Data\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    assert {name for name, _, _ in rows} == set(Base.metadata.tables)
    assert len(rows) == len(re.findall(r"^\| `", section, re.MULTILINE))


def test_states_are_drawn_as_in_the_code() -> None:
    """The state machines of ARCHITECTURE.md are the drawings of the code."""
    for states in (JobState, ExplanationState):
        drawing = textwrap.dedent((states.__doc__ or "").partition("::\n")[2]).strip()
        assert drawing
        assert drawing in read("ARCHITECTURE")


def test_floors_are_those_that_are_enforced() -> None:
    """The floors inside `shared` stand in ARCHITECTURE.md as import-linter holds them."""
    block = re.search(r"^```floors\n(.*?)\n```$", read("ARCHITECTURE"), re.MULTILINE | re.DOTALL)
    assert block
    assert block[1].splitlines() == floors()


def test_decisions_are_numbered_without_gaps_newest_first() -> None:
    """DECISIONS.md counts down to 1, and each record has its three parts."""
    text = read("DECISIONS")
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", text, re.MULTILINE)]
    assert numbers == list(range(len(numbers), 0, -1))
    for part in ("Context", "Choice", "Consequence"):
        assert len(re.findall(rf"^\*\*{part}\.\*\* ", text, re.MULTILINE)) == len(numbers), part


def test_decisions_named_in_code_exist() -> None:
    """A comment that points to a decision points to one that is written."""
    numbers = set(re.findall(r"^## (\d+)\. ", read("DECISIONS"), re.MULTILINE))
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            named = set(re.findall(r"DECISIONS (\d+)", path.read_text(encoding="utf-8")))
            assert named <= numbers, path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    """Each relative link has its file, each fragment its heading."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", read(name)):
        path, _, fragment = target.partition("#")
        document = ROOT / f"{name}.md"
        linked = document.parent / path if path else document
        assert linked.exists(), target
        assert not fragment or fragment in _anchors(linked), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_promise_no_diagnosis(name: str) -> None:
    """Wherever a document speaks of a diagnosis, the sentence has denied it before the word comes."""
    sentences = re.split(r"(?<=[.!?:])\s", " ".join(read(name).split()))
    speaking = [sentence for sentence in sentences if re.search(r"diagnos", sentence, re.IGNORECASE)]
    assert all(re.search(r"\b(?:not|no|never)\b.*diagnos", sentence, re.IGNORECASE) for sentence in speaking), speaking


def test_licence_is_apache_2() -> None:
    """LICENSE is the whole text that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_changelog_knows_the_version() -> None:
    """CHANGELOG.md has what is unreleased, and names the version that pyproject.toml has."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    text = read("CHANGELOG")
    assert "## [Unreleased]" in text
    assert version in text


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    if name == "home":
        return "`var/` of a checkout, else `~/.local/share/plainfilm`"
    return (
        "none"
        if field.default is None
        else f"`{str(field.default).lower() if field.annotation is bool else field.default}`"
    )


def _first_line(error: type[errors.AppError]) -> str:
    return (error.__doc__ or "").partition("\n")[0]


def _names(group: typer.Typer) -> set[str]:
    """The commands of a Typer group, without loading a package's."""
    return {
        command.name or command.callback.__name__.replace("_", "-")
        for command in group.registered_commands
        if command.callback
    }


def _anchors(path: Path) -> set[str]:
    """Headings as GitHub turns them into fragments."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
