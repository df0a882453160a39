"""Results of other, longer runs, read from their files into the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from shared.errors import DataProblem
from shared.manifest import ModelManifest
from shared.model_report import CrossValidation, Explanations, LeftOut
from training.recipe import Recipe

Form = TypeVar("Form")


@dataclass(frozen=True, slots=True)
class Extras:
    """Results of other runs, as far as their files were named; `notes` are sentences on checks not possible."""

    cross_validation: CrossValidation | None = None
    leave_one_source_out: list[LeftOut] = field(default_factory=list)
    explanations: Explanations | None = None
    notes: tuple[str, ...] = ()


class _Explained(BaseModel):
    """The part of the file of `training/explain_check.py` that the report takes; `model` is the weights' SHA-256."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    films: int | None = None
    of: str = ""
    agreement: list[dict[str, object]]
    sanity: list[dict[str, object]]
    areas: list[dict[str, object]]


def read_extras(
    manifest: ModelManifest,
    recipe: Recipe,
    crossval: Path | None = None,
    loso: Path | None = None,
    explanations: Path | None = None,
) -> Extras:
    """Return the contents of these files; a part whose file is not named is missing in the report.

    Raises:
        DataProblem: a file cannot be read, is not valid, is of another recipe or of one of the same name with other
            knobs, or explains other weights.
    """
    folds = _read(TypeAdapter(CrossValidation), crossval) if crossval else None
    sources = _read(TypeAdapter(list[LeftOut]), loso) if loso else []
    notes: list[str] = []
    for path, rows in ((crossval, [folds] if folds else []), (loso, sources)):
        if path is not None:
            _check_recipe(path, {row.recipe for row in rows}, manifest.recipe)
            notes += _check_knobs(path, {row.recipe_sha256 for row in rows}, recipe)
    return Extras(
        cross_validation=folds,
        leave_one_source_out=sources,
        explanations=_read_explanations(explanations, manifest.weights_sha256) if explanations else None,
        notes=tuple(notes),
    )


def _check_recipe(path: Path, descriptions: set[str], recipe: str) -> None:
    """Raise DataProblem where a description, which begins with its recipe's name, is of another recipe."""
    others = sorted(name for name in descriptions if name.split(",")[0] != recipe)
    if others:
        raise DataProblem(f"{path.name} is of the recipe {others[0]}, the model of {recipe}.", path=str(path))


def _check_knobs(path: Path, digests: set[str | None], recipe: Recipe) -> list[str]:
    """Raise DataProblem where a recipe's digest differs; return a note where the file has no digest."""
    if digests - {None, recipe.sha256}:
        message = f"{path.name} is of a recipe {recipe.name} with other knobs than the model's."
        raise DataProblem(message, path=str(path))
    note = f"{path.name} names its recipe and not its knobs: whether they are the model's cannot be checked."
    return [note] if None in digests else []


def _read_explanations(path: Path, weights_sha256: str) -> Explanations:
    explained = _read(TypeAdapter(_Explained), path)
    if explained.model != weights_sha256:
        raise DataProblem(f"{path.name} explains other weights than these.", path=str(path))
    return Explanations.model_validate(explained.model_dump(exclude={"model"}))


def _read(form: TypeAdapter[Form], path: Path) -> Form:
    try:
        return form.validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataProblem(f"{path.name} cannot be read.", path=str(path)) from error
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, e["loc"])) or "(root)" for e in error.errors()[:5])
        raise DataProblem(f"{path.name} is not of the form that is expected: {fields}.", path=str(path)) from error
