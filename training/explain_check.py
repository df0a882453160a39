"""Three checks of a model's explanations on a folder of films, written as one JSON; run by hand, not in CI.

    python -m training.explain_check --model worker/models/default --data shared/samples

Agreement: each method against another library's (`explain_agreement.py`).
Sanity: the maps of a network whose weights are shuffled, from the last row down (Adebayo et al. 2018, arXiv
1810.03292); a method whose maps do not change does not show what the network learned. Comparison: deletion and
insertion of our maps and of LIME's (`lime.py`). Exit 1 where a method disagrees with the library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

import shared.samples
from shared.arrays import FloatArray
from shared.errors import DataProblem
from shared.film_names import FILM_SUFFIXES
from shared.imaging.preprocess import preprocess, stack
from training.dataset import read_film
from training.explain_agreement import ask_peer, check_agreement, install_peer
from training.lime import Lime, lime
from worker.engine import SHIPPED_MODEL, judge
from worker.engine.architecture import Architecture
from worker.engine.explain import METHODS, Labels
from worker.engine.keras_explainer import KerasExplainer, build_explainer, load_explainer
from worker.engine.quality import rank_correlation
from worker.engine.weights import load_weights

SAMPLES: Final = Path(shared.samples.__file__).parent

STAGES: Final = (("last row", 0.0), ("last half", 0.5), ("all rows", 1.0))
"""How much of the network is shuffled: the last row alone, then this share of the rows that have arrays."""


@dataclass(frozen=True, slots=True)
class Sanity:
    """One method's maps of the trained network against those of a shuffled one: mean rank correlation over the films.

    A film of which either map is constant has no rank correlation; `compared` is the number of the other films.
    """

    method: str
    shuffled: str
    mean_rank_correlation: float | None
    compared: int


@dataclass(frozen=True, slots=True)
class Areas:
    """Mean deletion and insertion area of one method over the films of one label.

    `random_auc` is the area of random orders, `empty_film` the score of a film of which nothing is left.
    """

    method: str
    label: str
    films: int
    deletion_auc: float
    insertion_auc: float
    random_auc: float
    empty_film: float


def main(
    model: Annotated[Path, typer.Option(help="model folder")] = SHIPPED_MODEL,
    data: Annotated[Path, typer.Option(help="folder of PNG or JPEG films")] = SAMPLES,
    out: Annotated[Path, typer.Option(help="JSON to write")] = Path("var/explain_check.json"),
    peer: Annotated[Path, typer.Option(help="folder of the second library")] = Path("var/explain-peer"),
    seed: Annotated[int, typer.Option(help="of every random draw")] = 1,
) -> None:
    """Check a model's explanations; exit 1 where a method disagrees with the second library."""
    explainer = load_explainer(model)
    films = read_films(data, explainer)
    labels = explainer.scores(films).argmax(axis=1)
    peer_maps = ask_peer(model, films, labels, install_peer(peer), seed)
    agreements = check_agreement(explainer, films, labels, peer_maps, seed)
    checks = {
        "model": explainer.manifest.weights_sha256,
        "device": explainer.device,
        "films": len(films),
        "of": "the sample films that ship, blends of several films each" if data.resolve() == SAMPLES else data.name,
        "seed": seed,
        "agreement": [asdict(row) for row in agreements],
        "sanity": [asdict(row) for row in check_sanity(model, explainer, films, labels, seed)],
        "areas": [asdict(row) for row in compare(explainer, films, labels, seed)],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(checks, indent=2) + "\n", encoding="utf-8")
    typer.echo(json.dumps(checks))
    if not all(row.agrees for row in agreements):
        raise typer.Exit(1)


def read_films(folder: Path, explainer: KerasExplainer) -> FloatArray:
    """Return every PNG and JPEG film of a folder as network input: (N, H, W, C) float32 in [0, 1].

    Raises:
        DataProblem: the folder has none.
    """
    manifest = explainer.manifest
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in FILM_SUFFIXES)
    if not paths:
        raise DataProblem(f"{folder.name} has no PNG or JPEG film.")
    return stack([preprocess(read_film(path), manifest.preprocessing, manifest.input_shape) for path in paths])


def check_sanity(
    model: Path, explainer: KerasExplainer, x: FloatArray, labels: Labels, seed: int
) -> tuple[Sanity, ...]:
    """Compare each method's maps with those of the networks of `STAGES`, for the same labels."""
    weights = load_weights(model, explainer.manifest)
    learned = {method: explainer.explain(x, method, labels, seed) for method in METHODS}
    rows: list[Sanity] = []
    for stage, share in STAGES:
        mixed = shuffle(weights.architecture, weights.arrays, share, np.random.default_rng(seed))
        other = build_explainer(explainer.manifest, weights.architecture, mixed)
        rows += [_sanity(m, stage, learned[m], other.explain(x, m, labels, seed)) for m in METHODS]
    return tuple(rows)


def shuffle(
    architecture: Architecture, arrays: Mapping[str, FloatArray], share: float, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Return the arrays with those of the last rows shuffled: a share of the rows that have arrays, one at least.

    A row keeps its values and so its scale, but loses the order of its values, which is what was learned.
    """
    rows = [layer.name for layer in architecture.layers if any(name.startswith(f"{layer.name}.") for name in arrays)]
    chosen = set(rows[-max(1, round(share * len(rows))) :])
    return {
        name: rng.permutation(array.ravel()).reshape(array.shape) if name.rpartition(".")[0] in chosen else array
        for name, array in arrays.items()
    }


def _sanity(method: str, stage: str, before: FloatArray, after: FloatArray) -> Sanity:
    ranks = [rank_correlation(a, b) for a, b in zip(before, after, strict=True)]
    defined = [rank for rank in ranks if rank is not None]
    return Sanity(method, stage, float(np.mean(defined)) if defined else None, len(defined))


def compare(explainer: KerasExplainer, x: FloatArray, labels: Labels, seed: int) -> tuple[Areas, ...]:
    """Return the mean deletion and insertion areas of every method and of LIME, for each label that was explained."""
    maps = {method: explainer.explain(x, method, labels, seed) for method in METHODS}
    by_film = [
        _areas(explainer, film, int(label), {method: maps[method][i] for method in METHODS}, seed)
        for i, (film, label) in enumerate(zip(x, labels, strict=True))
    ]
    names = explainer.manifest.labels
    return tuple(
        _mean_areas(
            method, names[label], [areas[method] for areas, of in zip(by_film, labels, strict=True) if of == label]
        )
        for label in sorted(set(labels.tolist()))
        for method in (*METHODS, "lime")
    )


def _areas(
    explainer: KerasExplainer, x: FloatArray, label: int, maps: Mapping[str, FloatArray], seed: int
) -> dict[str, FloatArray]:
    """Return for each method: deletion, insertion and random area of one film, and the empty film's score, (4,)."""
    rng = np.random.default_rng(seed)

    def scores(films: FloatArray) -> FloatArray:
        of_label: FloatArray = explainer.scores(films)[:, label]
        return of_label

    blocks = lime(scores, x, Lime(), rng)
    marked = {method: judge.block_means(values) for method, values in maps.items()}
    marked["lime"] = np.kron(blocks, np.ones((judge.GRID // len(blocks),) * 2, np.float32))
    unmarked = np.zeros((judge.GRID, judge.GRID), np.float32)
    chance = [judge.area(judge.take_away(scores, x, unmarked, rng)) for _ in range(judge.RANDOM_ORDERS)]
    areas_by_method: dict[str, FloatArray] = {}
    for method, values in marked.items():
        deletion = judge.take_away(scores, x, values, rng)
        insertion = judge.take_away(scores, x, -values, rng)
        areas = [judge.area(deletion), judge.area(insertion), float(np.mean(chance)), float(deletion[-1])]
        areas_by_method[method] = np.array(areas, np.float32)
    return areas_by_method


def _mean_areas(method: str, label: str, measured: Sequence[FloatArray]) -> Areas:
    deletion, insertion, chance, empty = (float(mean) for mean in np.stack(measured).mean(axis=0))
    return Areas(method, label, len(measured), deletion, insertion, chance, empty)


if __name__ == "__main__":
    typer.run(main)
