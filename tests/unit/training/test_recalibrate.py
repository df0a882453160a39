"""Another hospital's films set new thresholds; the old model stays as it is, and what films cannot tell is kept."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.domain import Assessment, Evidence, Verdict
from shared.errors import DataProblem, InvalidRequest
from shared.manifest import ModelManifest, Thresholds, read_manifest
from shared.model_report import Recalibration
from shared.verdict import calibrate
from tests.models import make_arrays, make_manifest, quantize_model, write_model
from training import recalibrate as work
from training.calibrate import CalibrationSet, Targets, choose_thresholds, smallest_sample
from training.dataset import Example, film_sha256
from training.evaluate import Answers, ask
from training.export import fold
from training.fit import ignore
from training.learned import RECALIBRATION_FILE, LearnedFilms, read_recalibrated, write_learned
from training.manifest_csv import read_manifest_csv
from training.model_films import find_films
from training.new_thresholds import as_logits, recalibrate_thresholds
from training.recalibrate import LEAST_FILMS, halve, recalibrate
from training.recipe import LABELS
from training.recipes import find_recipe
from training.report.build import write_report
from training.synth import write_films
from worker.engine.architecture import tiny
from worker.engine.golden import GoldenState, check_golden, read_golden
from worker.engine.keras_engine import load_engine
from worker.engine.weights import load_weights

TARGETS = Targets(0.9, 0.9, 0.05, 0.99)
LIMITS = Thresholds(min_probability=0.5, min_spread=0.01, set_quantiles=dict.fromkeys(LABELS, 0.5))


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def make_answers(logits: np.ndarray, labels: list[str], temperature: float, distance: float = 0.0) -> Answers:
    """What a model with these logits over the labels, and one for other findings, says of films."""
    probabilities = calibrate(logits[:, :3].astype(np.float32), temperature)
    other = calibrate(logits.astype(np.float32), temperature)[:, 3:].sum(axis=1)
    films = tuple(Example(Path(f"{n}.png"), label, str(n), "", "", f"row {n}") for n, label in enumerate(labels))
    seen = tuple(
        Evidence(p, float(o), distance, distance, 0.2, 1.0, was_inverted=False)
        for p, o in zip(probabilities, other, strict=True)
    )
    told = tuple(Assessment(Verdict.UNCERTAIN, {}, (), ()) for _ in films)
    return Answers(films, seen, told)


def make_logits(count: int, sharpness: float, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """(3 * count, 4) logits that favour the truth in most rows, and the labels."""
    rng = np.random.default_rng(seed)
    labels = [label for label in LABELS for _ in range(count)]
    logits = rng.normal(0, 1, (3 * count, 4))
    logits[np.arange(3 * count), np.repeat(np.arange(3), count)] += 1.5
    return logits * sharpness, labels


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model that knows other findings."""
    folder = tmp_path / "model"
    folder.mkdir()
    arrays = fold(tiny(4), make_arrays(tiny(4)))
    limits = LIMITS.model_copy(update={"max_other": dict.fromkeys(LABELS, 0.3)})
    write_model(
        folder, arrays, other_label="other_finding", parameters=sum(a.size for a in arrays.values()), thresholds=limits
    )
    quantize_model(folder)
    (folder / "history.csv").write_text("epoch\n1\n")
    return folder


def test_logits_come_back_up_to_a_constant() -> None:
    """Softmax over the labels and over all outputs are those the model gave."""
    logits, labels = make_logits(5, 2.0)
    answers = make_answers(logits, labels, 1.7)
    found = as_logits(answers.evidence, 1.7, has_other=True)
    offsets = found - logits
    assert np.abs(offsets - offsets[:, :1]).max() < 1e-4
    assert as_logits(answers.evidence, 1.7, has_other=False).shape == (15, 3)


def test_an_overconfident_model_gets_a_higher_temperature() -> None:
    """Logits three times too sharp are answered by about three times the temperature, found as training finds it."""
    logits, labels = make_logits(200, 1.0)
    sharp = make_answers(3 * logits, labels, 1.0)
    manifest = make_manifest(temperature=1.0)
    temperature, thresholds, _ = recalibrate_thresholds(sharp, manifest, TARGETS)
    plain, _, _ = recalibrate_thresholds(make_answers(logits, labels, 1.0), manifest, TARGETS)
    assert temperature == pytest.approx(3 * plain, rel=0.01)
    truth = np.array([LABELS.index(label) for label in labels])
    held = CalibrationSet((3 * logits[:, :3]).astype(np.float32), truth, np.full(600, 0.2, np.float32))
    expected, limits = choose_thresholds(held, LABELS, TARGETS)
    assert temperature == pytest.approx(expected, rel=0.005)  # candidates are 0.3 % apart
    assert thresholds.min_probability == pytest.approx(limits.min_probability, abs=5e-3)
    assert thresholds.set_quantiles == pytest.approx(limits.set_quantiles, abs=5e-3)


def manifest_with_gate() -> ModelManifest:
    """Of a model with a gate and an output for other findings."""
    limits = LIMITS.model_copy(
        update={"max_other": dict.fromkeys(LABELS, 0.3), "max_film_distance": 2.0, "max_feature_distance": 5.0}
    )
    return make_manifest(temperature=1.0, thresholds=limits, other_label="other_finding")


def test_limits_that_refuse_are_only_widened() -> None:
    """Distances: the larger of old and new; least spread: the smaller."""
    logits, labels = make_logits(30, 1.0)
    _, near, kept = recalibrate_thresholds(
        make_answers(logits, labels, 1.0, distance=1.0), manifest_with_gate(), TARGETS
    )
    _, far, _ = recalibrate_thresholds(make_answers(logits, labels, 1.0, distance=9.0), manifest_with_gate(), TARGETS)
    assert (near.max_film_distance, near.max_feature_distance, near.min_spread) == (2.0, 5.0, 0.01)
    assert (far.max_film_distance, far.max_feature_distance) == (9.0, 9.0)
    assert [sentence.partition(":")[0] for sentence in kept] == [
        "max_other", "max_film_distance, max_feature_distance", "min_spread",
    ]  # fmt: skip
    _, without, _ = recalibrate_thresholds(make_answers(logits, labels, 1.0), make_manifest(), TARGETS)
    assert (without.max_film_distance, without.max_other) == (None, None)


def test_the_threshold_of_other_findings_keeps_its_meaning_without_such_films() -> None:
    """At twice the temperature the same logit difference is another probability: 0.3 becomes 1 / (1 + sqrt(7 / 3))."""
    logits, labels = make_logits(200, 1.0)
    plain, _, _ = recalibrate_thresholds(make_answers(logits, labels, 1.0), manifest_with_gate(), TARGETS)
    sharp = make_answers(logits * 2 / plain, labels, 1.0)
    temperature, thresholds, _ = recalibrate_thresholds(sharp, manifest_with_gate(), TARGETS)
    assert temperature == pytest.approx(2.0, rel=0.01)
    assert thresholds.max_other == pytest.approx(dict.fromkeys(LABELS, 1 / (1 + np.sqrt(0.7 / 0.3))), rel=0.01)


def test_films_with_other_findings_set_their_threshold() -> None:
    """At most the aimed share of them gets a verdict with it."""
    logits, labels = make_logits(60, 1.0)
    rng = np.random.default_rng(4)
    others = rng.normal(0, 1, (40, 4)) + np.array([0, 0, 0, 2.0])
    answers = make_answers(np.concatenate([logits, others]), [*labels, *["tuberculosis"] * 40], 1.0)
    temperature, thresholds, kept = recalibrate_thresholds(answers, manifest_with_gate(), TARGETS)
    assert thresholds.max_other is not None
    assert not any(sentence.startswith("max_other") for sentence in kept)
    probabilities = calibrate(others[:, :3].astype(np.float32), temperature)
    other = calibrate(others.astype(np.float32), temperature)[:, 3]
    limits = np.array([thresholds.set_quantiles[label] for label in LABELS])
    gets_one = (
        ((1 - probabilities <= limits).sum(axis=1) <= 1)
        & (probabilities.max(axis=1) >= thresholds.min_probability)
        & (other < np.array([thresholds.max_other[LABELS[place]] for place in probabilities.argmax(axis=1)]))
    )
    assert gets_one.mean() <= 0.05


def test_halves_keep_groups_together_and_labels_even() -> None:
    """Two films a patient: no patient in both halves, and each label in both."""
    films = [
        Example(Path("x"), label, f"{label}{n // 2}", "", "", "row") for label in LABELS for n in range(2 * LEAST_FILMS)
    ]
    halves = halve(films, LABELS, seed=3)
    assert not {e.group for e in halves.setting} & {e.group for e in halves.held_out}
    for half in (halves.setting, halves.held_out):
        assert [sum(e.label == label for e in half) for label in LABELS] == [LEAST_FILMS] * 3


def test_too_few_films_and_a_missing_class_are_named() -> None:
    """All labels at once, with the number there is and the number needed."""
    films = [Example(Path("x"), "normal", str(n), "", "", "row") for n in range(LEAST_FILMS)]
    films += [Example(Path("x"), "covid19", f"c{n}", "", "", "row") for n in range(LEAST_FILMS - 1)]
    with pytest.raises(DataProblem) as caught:
        halve(films, LABELS, seed=0)
    assert "'covid19' has 39 films; at least 40 are needed (--few takes 20 films of each class)" in caught.value.detail
    assert "'viral_pneumonia' has 0 films" in caught.value.detail
    assert "'normal'" not in caught.value.detail
    one_patient = [replace(e, group="p") if e.label == "normal" else e for e in films]
    one_patient += [Example(Path("x"), label, f"{label}{n}", "", "", "row") for label in LABELS[::2] for n in range(40)]
    with pytest.raises(DataProblem, match="half"):
        halve(one_patient, LABELS, seed=0)


def test_a_version_in_the_current_folder_has_that_folders_name(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--out .` names the version as the folder's own name does."""
    films = read_manifest_csv(write_films(tmp_path / "films", {"": 40}, seed=3), ("file", "label"))
    (tmp_path / "ward").mkdir()
    monkeypatch.chdir(tmp_path / "ward")
    assert recalibrate(model, films, Path(), 0, ignore).version == "1+ward"


def test_a_version_behind_a_link_has_the_links_name(model: Path, tmp_path: Path) -> None:
    """It is what was asked for by `--out`, wherever that leads."""
    films = read_manifest_csv(write_films(tmp_path / "films", {"": 40}, seed=3), ("file", "label"))
    (tmp_path / "disk2").mkdir()
    (tmp_path / "ward").symlink_to(tmp_path / "disk2")
    assert recalibrate(model, films, tmp_path / "ward", 0, ignore).version == "1+ward"


def test_a_new_version_is_written_beside_the_old(model: Path, tmp_path: Path) -> None:
    """Same arrays, other thresholds, another version and SHA-256; the old folder is the same byte for byte."""
    films = read_manifest_csv(write_films(tmp_path / "films", {"": 44}, seed=3), ("file", "label"))
    before = digests(model)
    out = tmp_path / "hospital-b"
    record = recalibrate(model, films, out, 0, ignore)
    assert digests(model) == before
    old, new = read_manifest(model), read_manifest(out)
    assert new.version == record.version == "1+hospital-b"
    assert new.weights_sha256 == hashlib.sha256((out / "weights.npz").read_bytes()).hexdigest() != old.weights_sha256
    arrays, expected = load_weights(out, new).arrays, load_weights(model, old).arrays
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)
    assert new.int8_sha256 == old.int8_sha256 is not None
    assert load_weights(out, new).int8.keys() == {"conv1", "conv2"}
    assert (out / "history.csv").exists()
    halves = halve(films, LABELS, 0)
    temperature, thresholds, _ = recalibrate_thresholds(
        ask(load_engine(model), halves.setting, ignore), old, Targets(0.95, 0.9, 0.03, 0.995)
    )
    assert (new.temperature, new.thresholds) == (temperature, thresholds)
    assert new.metrics == {"held_out": record.after}
    assert record.after.n == record.before.n == 66
    assert record.after.accuracy == record.before.accuracy  # the forced choice needs no threshold
    assert check_golden(load_engine(out), read_golden(out)) is GoldenState.PASSED


def test_other_thresholds_are_another_model(model: Path, tmp_path: Path) -> None:
    """In folders of one name, and of names that are too long: results and answers go by the SHA-256."""
    found = []
    for seed, place in enumerate(("a/mine", "b/mine", "c/" + 70 * "n")):
        films = read_manifest_csv(write_films(tmp_path / f"films{seed}", {"": 44}, seed=seed), ("file", "label"))
        recalibrate(model, films, tmp_path / place, 0, ignore)
        found.append(read_manifest(tmp_path / place))
    assert len({new.thresholds.model_dump_json() for new in found}) == 3
    assert len({new.weights_sha256 for new in found}) == 3
    again = recalibrate(tmp_path / "c" / (70 * "n"), films, tmp_path / "other", 1, ignore)
    assert again.version.endswith("+other")
    assert len(again.version) <= 64
    assert read_manifest(tmp_path / "other").weights_sha256 not in {new.weights_sha256 for new in found}


@pytest.mark.parametrize("step", ["ask", "write_golden"])
def test_a_run_that_is_cut_off_leaves_no_model(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """One without its record would be measured on the films that set it; the same command can be given again."""
    films = read_manifest_csv(write_films(tmp_path / "films", {"": 40}, seed=3), ("file", "label"))
    out, whole = tmp_path / "out", getattr(work, step)

    def cut_off(*arguments: object) -> object:
        if step == "write_golden" or list(out.glob(".draft/manifest.json")):
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(work, step, cut_off)
    with pytest.raises(KeyboardInterrupt):
        recalibrate(model, films, out, 0, ignore)
    assert list(out.iterdir()) == []
    monkeypatch.undo()
    assert recalibrate(model, films, out, 0, ignore).version == "1+out"
    assert not (out / ".draft").exists()


def test_films_that_it_learned_from_recalibrate_nothing(model: Path, tmp_path: Path) -> None:
    """It does better on them than on any other: each is named by its row."""
    films = read_manifest_csv(write_films(tmp_path / "films", {"": 40}, seed=3), ("file", "label"))
    write_learned(model, LearnedFilms(learned_from=(film_sha256(films[0].path),), chosen_by=()))
    with pytest.raises(DataProblem, match=rf"^{films[0].where}: the film {films[0].path.name} was learned from"):
        recalibrate(model, films, tmp_path / "out", 0, ignore)


def test_a_higher_coverage_of_sets_needs_more_films(model: Path, tmp_path: Path) -> None:
    """Fewer would put a label into each set, and leave no other one a verdict."""
    assert [smallest_sample(coverage) for coverage in (0.5, 0.9, 0.95, 0.99, 1.0)] == [1, 9, 19, 99, 0]
    films = read_manifest_csv(write_films(tmp_path / "films", {"": 44}, seed=3), ("file", "label"))
    assert halve(films, LABELS, 0).setting
    with pytest.raises(DataProblem, match="has 44 films; at least 48 are needed"):
        halve(films, LABELS, 0, 2 * smallest_sample(0.96))


def test_nothing_is_overwritten(model: Path, tmp_path: Path) -> None:
    """A folder that holds something is refused before any film is read."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match="not an empty folder"):
        recalibrate(model, [], out, 0, ignore)
    with pytest.raises(InvalidRequest, match="not an empty folder"):
        recalibrate(model, [], model, 0, ignore)


def test_films_are_found_in_a_csv_or_in_folders(model: Path, tmp_path: Path) -> None:
    """A CSV needs file and label only; labels that the model does not know are named by their line."""
    path = tmp_path / "films.csv"
    path.write_text("file,label\na.png,normal\nb.png,tuberculosis\nc.png,flu\n")
    with pytest.raises(DataProblem, match=r"films\.csv line 4: the label 'flu'"):
        find_films(model, path, None)
    path.write_text("file,label\na.png,normal\nb.png,tuberculosis\n")
    assert [film.label for film in find_films(model, path, None)] == ["normal", "tuberculosis"]
    for name in ("Normal", "tuberculosis"):
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "folders" / name / "1.png").write_bytes(b"")
    assert [film.label for film in find_films(model, None, tmp_path / "folders")] == ["normal", "tuberculosis"]


@pytest.mark.parametrize("other", ["./a.png", "a.png", "link.png"])
def test_a_film_has_one_row(model: Path, tmp_path: Path, other: str) -> None:
    """By another path, by a link, or simply twice it would be in both halves."""
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    path = tmp_path / "films.csv"
    path.write_text(f"file,label\na.png,normal\n{other},normal\n")
    with pytest.raises(DataProblem, match=r"films\.csv line 3: the film .* has a row already at films\.csv line 2\."):
        find_films(model, path, None)
    path.write_text(f"file,label\na.png,normal\n{other},covid19\n")
    with pytest.raises(DataProblem, match=r"line 2, as 'normal' and not 'covid19'"):
        find_films(model, path, None)


def test_a_report_names_films_that_set_the_thresholds(model: Path, tmp_path: Path) -> None:
    """Those of this recalibration and of the one before; held-out ones are measured, and the report tells of it."""
    recipe = replace(find_recipe("tiny"), drawn_films=0, report_splits=("external",))
    (model / "recipe.json").write_text(recipe.to_json())
    (model / "history.csv").unlink()
    manifests = [write_films(tmp_path / f"films{seed}", {"train": 4, "external": 44}, seed=seed) for seed in (1, 2)]
    before = model
    halves = []
    for number, manifest in enumerate(manifests):
        films = [film for film in read_manifest_csv(manifest) if film.split == "external"]
        recalibrate(before, films, before := tmp_path / f"new{number}", 0, ignore)
        halves.append(halve(films, LABELS, 0))
    for manifest, half in zip(manifests, halves, strict=True):
        with pytest.raises(DataProblem, match=f"66 problems:\\n.*{half.setting[0].path.name} .* set the thresholds"):
            write_report(before, manifest.parent, tmp_path / "out", ignore)
    gone = {film.path.name for film in halves[1].setting}
    kept = [line for line in manifests[1].read_text().splitlines() if Path(line.partition(",")[0]).name not in gone]
    manifests[1].write_text("\n".join(kept) + "\n")
    found = write_report(before, manifests[1].parent, tmp_path / "out", ignore)
    assert found.recalibration == Recalibration(films=66, is_checked=True)
    assert found.learned_films is None


def test_a_record_of_an_older_build_is_read(tmp_path: Path) -> None:
    """It tells how many films set the thresholds, not which."""
    assert read_recalibrated(tmp_path) is None
    (tmp_path / RECALIBRATION_FILE).write_text('{"version": "1+b", "films": {"normal": 12}, "kept": []}')
    found = read_recalibrated(tmp_path)
    assert found
    assert (found.films, found.known) == ({"normal": 12}, {})
