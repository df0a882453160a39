"""A manifest is read in full or refused with the fields at fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.errors import ManifestMismatch
from shared.manifest import MANIFEST_FILE, ModelManifest, read_manifest
from tests.fakes import make_manifest


def written(folder: Path, **changed: Any) -> Path:
    """A folder whose manifest differs from a good one by `changed`."""
    fields = json.loads(make_manifest().model_dump_json()) | changed
    (folder / MANIFEST_FILE).write_text(json.dumps(fields))
    return folder


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    """The round trip through JSON loses nothing."""
    assert read_manifest(written(tmp_path)) == make_manifest()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0),
        ("temperature", -1.5),
        ("weights_sha256", "A" * 64),
        ("weights_sha256", "a" * 63),
        ("labels", ["one"]),
        ("input_shape", [16, 16]),
        ("notice", "certified"),
        ("metrics", {"test": {"n": 3}}),
    ],
)
def test_a_field_at_fault_is_named(tmp_path: Path, field: str, value: object) -> None:
    """The message says where to look."""
    with pytest.raises(ManifestMismatch, match=field):
        read_manifest(written(tmp_path, **{field: value}))


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    """A misspelt promise is not silently dropped."""
    with pytest.raises(ManifestMismatch, match="min_probabilty"):
        read_manifest(written(tmp_path, min_probabilty=0.5))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    """Not JSON, or not an object."""
    (tmp_path / MANIFEST_FILE).write_text(text)
    with pytest.raises(ManifestMismatch, match="not valid"):
        read_manifest(tmp_path)


def test_an_absent_manifest_is_refused_without_its_path(tmp_path: Path) -> None:
    """The folder is a fact for log and terminal, not for the sentence."""
    with pytest.raises(ManifestMismatch) as caught:
        read_manifest(tmp_path)
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.facts == {"folder": str(tmp_path), "why": f"folder {tmp_path}"}


@pytest.mark.parametrize("names", [("covid19", "normal"), ("covid19", "normal", "viral_pneumonia", "other")])
def test_thresholds_name_exactly_the_labels(names: tuple[str, ...]) -> None:
    """A label without its quantile, or a quantile without its label, is refused."""
    fields = make_manifest().model_dump()
    fields["thresholds"]["set_quantiles"] = dict.fromkeys(names, 0.5)
    with pytest.raises(ValidationError, match="set_quantiles must name exactly the labels"):
        ModelManifest.model_validate(fields)


def test_a_manifest_is_frozen() -> None:
    """A promise is not changed after it was read."""
    with pytest.raises(ValidationError):
        make_manifest().temperature = 2.0  # type: ignore[misc]
