"""Turns stored codes and numbers into the words of a page: labels, reasons, sets, per cent.

Pure functions, used by the templates as filters. They decide nothing, and return an unknown code unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypeVar

from markupsafe import Markup

from shared import samples, verdict, wire
from shared.db.gauges import Backlog
from shared.db.queries import MOST_COUNTED
from shared.domain import Priority, Verdict
from shared.errors import BlobMissing
from shared.manifest import ModelManifest, Rate, SplitMetrics, Thresholds

Split = TypeVar("Split")

LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "covid19": "COVID-19",
        "normal": "Normal",
        "viral_pneumonia": "Viral pneumonia",
        "other_finding": "Other finding",
        "other_pneumonia": "Other pneumonia",
        "tuberculosis": "Tuberculosis",
        "uncertain": "Uncertain",
        "not_assessable": "Not assessable",
    }
)
REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ambiguous_set": "Another label is plausible besides the most probable one.",
        "empty_set": "The probability of this label is lower than for most films of it.",
        "extreme_aspect": "One side of the film is more than twice the other: too elongated for the network.",
        "low_contrast": "The film has hardly any contrast, so there is nothing to compare with the training films.",
        "low_probability": "No label reaches the minimum probability that this model's thresholds require.",
        "other_finding": "The film looks like one with a finding outside the labels of the study.",
        "not_frontal_chest": "The film does not look like a frontal chest film.",
        "polarity_corrected": "The film is inverted (bones are dark); it was converted to normal polarity first.",
        "unlike_training": "The film is unlike those the model was trained on.",
    }
)
HEADLINES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ambiguous_set": "more than one label is plausible",
        "low_probability": "no label is probable enough",
        "other_finding": "a finding outside its labels is too probable",
    }
)
"""Headline of an uncertain film by the first reason of the abstention."""

CAUTIONS: Final = frozenset({verdict.POLARITY_CORRECTED, verdict.EMPTY_SET})
"""Reasons shown beside any verdict; all others are reasons of an abstention."""

SPLITS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "external": (
            "External",
            "Films from collections not used for training; some come from hospitals that training films come from too.",
        ),
        "ood": ("Other findings", "Films for which none of the labels is correct: any label they are given is wrong."),
        "test_adult": (
            "Test, adults",
            "Films of adults only, so that age does not give the label away; the hospitals still differ.",
        ),
        "test": (
            "Test",
            "Films held out from collections that it learned from; in the study's, only COVID-19 films are of adults.",
        ),
        "held_out": ("Recalibration", "The half of the films of a recalibration that did not set its thresholds."),
        "validation": ("Validation", "Films held out for model selection and calibration: not a test set."),
    }
)
"""Split to its name and meaning, the most informative first."""

NUMBERS: Final[Mapping[int, str]] = MappingProxyType({2: "two", 3: "three", 4: "four", 5: "five"})
MINUTE_S, HOUR_S = 60, 3600
NO_BREAK: Final = "\N{NO-BREAK SPACE}"
NEARLY_ALL = 0.999
"""Above this share, one decimal would be rounded to 100 %, which no model reaches."""


def name_label(code: str) -> str:
    """'covid19' -> 'COVID-19'."""
    return LABELS.get(code, code)


def explain_reason(code: str) -> str:
    """Return a reason code of an abstention or a caution as a sentence."""
    return REASONS.get(code, code)


def head_abstention(result: wire.Result) -> str:
    """Return the headline of an abstention: its first reason in short; all reasons follow as sentences."""
    if result.verdict == Verdict.NOT_ASSESSABLE:
        return "The model abstains: this film cannot be assessed"
    first = next(iter(why_none(result.reasons)), "")
    return f"The model abstains: {HEADLINES[first]}" if first in HEADLINES else "The model abstains"


def explain_abstention(result: wire.Result) -> list[str]:
    """Return every reason of an abstention as a sentence; an ambiguous set names its labels."""
    sentences = {reason: explain_reason(reason) for reason in why_none(result.reasons)}
    if verdict.AMBIGUOUS_SET in sentences:
        sentences[verdict.AMBIGUOUS_SET] = describe_set(result) or sentences[verdict.AMBIGUOUS_SET]
    return list(sentences.values())


def beyond_headline(result: wire.Result) -> list[str]:
    """Return the sentences of an abstention without the first one if the headline says the same."""
    first = next(iter(why_none(result.reasons)), "")
    is_repeated = result.verdict == Verdict.UNCERTAIN and first in HEADLINES and first != verdict.AMBIGUOUS_SET
    return explain_abstention(result)[is_repeated:]


def why_none(reasons: Sequence[str]) -> list[str]:
    """Return the reasons of an abstention, without cautions."""
    return [reason for reason in reasons if reason not in CAUTIONS]


def cautions(reasons: Sequence[str]) -> list[str]:
    """Return the cautions, which do not change the verdict."""
    return [reason for reason in reasons if reason in CAUTIONS]


def list_splits(splits: Mapping[str, Split]) -> list[tuple[str, str, Split]]:
    """Return (name, meaning, value) of each split, the most informative first, splits unknown to this build last."""
    order = [name for name in SPLITS if name in splits] + [name for name in splits if name not in SPLITS]
    return [(*SPLITS.get(name, (name, "")), splits[name]) for name in order]


def list_rates(split: SplitMetrics) -> list[tuple[str, Rate]]:
    """Return (words, share) for every share of a split that was measured."""
    rates: list[tuple[str, Rate | None]] = [("Accuracy of the forced choice", split.accuracy)]
    rates += [(f"Recall of {name_label(label)}", rate) for label, rate in split.recall.items()]
    rates += [("Given a label (coverage)", split.coverage)]
    rates += [(f"of {name_label(label)}", rate) for label, rate in split.coverage_by_label.items()]
    rates += [("Accuracy of the labels given to films that have one", split.selective_accuracy)]
    rates += [("Right, of all labels given", split.verdict_precision)]
    return [(words, rate) for words, rate in rates if rate is not None and rate.n]


def describe_doubts(limits: Thresholds) -> list[str]:
    """Return the conditions under which this model answers 'uncertain', as sentences."""
    return verdict.describe_doubts(limits, name_label)


def percent(share: float) -> str:
    """Return a share of [0, 1] as per cent with one decimal and without line breaks; never rounded to 0 or 100."""
    number = f"{share * 100:.1f}"
    if NEARLY_ALL < share < 1:
        number = "> 99.9"
    elif 0 < share < 1 - NEARLY_ALL:
        number = "< 0.1"
    return f"{number} %".replace(" ", NO_BREAK)


def ranked(probabilities: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return (label, probability) pairs, the most probable first."""
    return sorted(probabilities.items(), key=lambda pair: -pair[1])


def list_labels(labels: Sequence[str]) -> str:
    """('covid19', 'normal') -> 'COVID-19 and Normal'."""
    names = [name_label(label) for label in labels]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def describe_set(result: wire.Result) -> str:
    """Return the verdict's probability in words; for an abstention the plausible labels, '' for fewer than two."""
    labels = result.prediction_set
    if result.verdict in result.probabilities:
        number = len(result.probabilities)
        return f"{percent(result.probabilities[result.verdict])} among these {NUMBERS.get(number, number)} labels."
    return f"{list_labels(labels)} are {'all' if labels[2:] else 'both'} plausible." if labels[1:] else ""


def deciding(result: wire.Result) -> tuple[str, float]:
    """Return what is shown beside a verdict with its probability: the first label, or another finding."""
    first = next(iter(why_none(result.reasons)), "")
    if first == verdict.OTHER_FINDING and result.other_probability is not None:
        return "another finding", result.other_probability
    label, probability = ranked(result.probabilities)[0]
    return name_label(label), probability


def count_right_elsewhere(manifest: ModelManifest) -> tuple[int, int] | None:
    """Return (right, given): the labels that a model gave films of other collections, and how many were right.

    Every label of a film with an other finding is wrong. None if that was not measured.
    """
    measured = manifest.metrics.get("external")
    if measured is None or measured.selective_accuracy is None:
        return None
    right = round(measured.selective_accuracy.value * measured.selective_accuracy.n)
    return right, round(measured.coverage.value * measured.coverage.n)


def short_id(job_id: str) -> str:
    """Return the last eight characters of an id, which are random; the first ones encode the time."""
    return job_id[-8:]


def exact_time(moment: datetime) -> str:
    """Return a time in UTC to the second; the page's script shows it in the reader's time zone."""
    return moment.astimezone(UTC).strftime("%d %b %Y, %H:%M:%S UTC")


def mark_code(sentence: str) -> Markup:
    """Return a sentence with the parts between backticks marked up as code."""
    parts = sentence.split("`")
    return Markup().join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def grouped(number: int) -> str:
    """1234567 -> '1 234 567', with narrow no-break spaces."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(number: int) -> str:
    """Return a count of jobs: 9999 -> '9 999'; above the counting limit '10 000+'."""
    return grouped(number) if number <= MOST_COUNTED else f"{grouped(MOST_COUNTED)}+"


def count_days(days: float) -> str:
    """30.0 -> '30 days', 1.0 -> '1 day'."""
    return f"{days:g} {'day' if days == 1 else 'days'}"


def describe_batch(batch: wire.Batch) -> str:
    """Return the progress of a batch: 'Batch of 12 films: 10 done.'."""
    done = sum(number for state, number in batch.counts.items() if state.is_terminal)
    return f"Batch of {grouped(batch.total)} {'film' if batch.total == 1 else 'films'}: {grouped(done)} done."


def list_unserved(waiting: Mapping[str, Backlog], workers: Mapping[str, int]) -> list[str]:
    """Return the priorities with waiting films and no living worker."""
    return [name for name, backlog in waiting.items() if backlog.films and not workers.get(name)]


def shade(count: int, row: Sequence[int]) -> int:
    """Return the shade 0..5 of a confusion matrix's cell by its share of the row."""
    total = sum(row)
    return math.ceil(5 * count / total) if total else 0


def is_sample(job: wire.Job) -> bool:
    """Whether the film is one of this build's sample films."""
    return job.input.sha256 in samples.digests()


def is_gone(job: wire.Job) -> bool:
    """Whether the job failed because its film file is missing: it can be neither shown nor classified again."""
    return job.error is not None and job.error.code == BlobMissing.code


def summarize(job: wire.Job) -> str:
    """Return the job in one line, for screen readers."""
    film = f"Film {short_id(job.id)}: {job.status.value}"
    if job.result is None:
        return f"{film}."
    verdict_name = name_label(job.result.verdict)
    if job.result.verdict == Verdict.NOT_ASSESSABLE:
        return f"{film}. Verdict {verdict_name}."
    words, probability = deciding(job.result)
    if job.result.verdict in job.result.probabilities:
        return f"{film}. {verdict_name}, {percent(probability)}."
    return f"{film}. Verdict {verdict_name}; {words} {percent(probability)}."


def describe_wait(seconds: int) -> str:
    """Return a rounded-up estimate: 7 -> '10 s', 61 -> '2 min', 7201 -> '3 h'."""
    if seconds <= MINUTE_S:
        return f"{10 * math.ceil(seconds / 10)} s"
    if seconds <= HOUR_S:
        return f"{math.ceil(seconds / MINUTE_S)} min"
    return f"{math.ceil(seconds / HOUR_S)} h"


def seen_mark(job: wire.Job, live_workers: int) -> str:
    """Return the state of an unfinished job that a page sends with its polls, to receive changes only."""
    wait = describe_wait(job.eta_s).replace(" ", "") if job.eta_s else None
    return f"{mark_state(job)}{job.queue_position}.{live_workers}.{wait}"


def mark_state(job: wire.Job) -> str:
    """Return the beginning of `seen_mark`, which is constant until the job is claimed, requeued or ended."""
    return f"{job.status.value}.{job.attempt}."


FILTERS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType(
    {
        "name_label": name_label,
        "describe_batch": describe_batch,
        "explain_reason": explain_reason,
        "head_abstention": head_abstention,
        "explain_abstention": explain_abstention,
        "beyond_headline": beyond_headline,
        "cautions": cautions,
        "list_rates": list_rates,
        "describe_obstacles": verdict.describe_obstacles,
        "describe_doubts": describe_doubts,
        "percent": percent,
        "ranked": ranked,
        "describe_set": describe_set,
        "deciding": deciding,
        "count_right_elsewhere": count_right_elsewhere,
        "short_id": short_id,
        "exact_time": exact_time,
        "mark_code": mark_code,
        "grouped": grouped,
        "counted": counted,
        "count_days": count_days,
        "list_unserved": list_unserved,
        "shade": shade,
        "is_gone": is_gone,
        "is_sample": is_sample,
        "summarize": summarize,
        "describe_wait": describe_wait,
        "seen_mark": seen_mark,
    }
)
CHOICES: Final[Mapping[str, object]] = MappingProxyType({"VERDICTS": tuple(Verdict), "PRIORITIES": tuple(Priority)})
