"""`plainfilm again REASON...`: classify stored films again that failed, or that another model answered, and print.

A film is identified by its digest, and its newest job decides. So a command that was interrupted resumes where it
stopped: the job that it has made is then the film's newest one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from rich.console import Console

from shared import wire
from shared.classify import FilmOutcome, in_flight, show
from shared.client import Client, Refused
from shared.domain import AgainReason
from shared.errors import Unavailable


def run(client: Client, reasons: Collection[AgainReason], *, since: str | None, priority: str, as_json: bool) -> int:
    """Classify the chosen films again and print; return the exit status, 1 where any film has an error.

    Raises:
        Unavailable: the serving model is not known, or the service does not answer.
        Refused: the service refused to list the jobs; in its words.
    """
    serving = _ask_serving(client) if AgainReason.OTHER_MODEL in reasons else None
    console = Console(stderr=True, soft_wrap=True)
    with console.status("looking through the jobs"):
        chosen = list(choose(client.all_jobs({} if since is None else {"since": since}), reasons, serving))
    console.print(f"{len(chosen)} {'film is' if len(chosen) == 1 else 'films are'} classified again", highlight=False)
    outcomes = show(classify_again(client, chosen, priority), len(chosen), console, as_json=as_json)
    return 1 if any(outcome.error for outcome in outcomes) else 0


def choose(jobs: Iterable[wire.Job], reasons: Collection[AgainReason], serving: str | None) -> Iterator[str]:
    """Yield the ids of the newest jobs of the films that are to be classified again, each film at most once.

    Args:
        jobs: newest first.
        serving: SHA-256 of the serving model's weights; None where `reasons` does not depend on it.
    """
    newest: dict[str, str] = {}  # film's digest to the id of its newest job
    settled: set[str] = set()  # digests of films whose older jobs do not matter any more
    for job in jobs:
        film = job.input.sha256
        is_newest = film not in newest
        newest.setdefault(film, job.id)
        if film in settled:
            continue
        is_wanted = _is_wanted(job, reasons, serving, is_newest=is_newest)
        if is_wanted:
            yield newest[film]
        if is_wanted or job.model or not job.done:
            settled.add(film)


def _is_wanted(job: wire.Job, reasons: Collection[AgainReason], serving: str | None, *, is_newest: bool) -> bool:
    """Whether this job is a reason to classify its film again: another model's answer, or the newest job's end."""
    if job.model:
        return AgainReason.OTHER_MODEL in reasons and job.model.sha256 != serving
    return is_newest and job.status.value in reasons


def classify_again(client: Client, job_ids: Collection[str], priority: str) -> Iterator[FilmOutcome]:
    """Yield the outcomes in the order of `job_ids`; a refused job gives an outcome with its error."""
    submissions = ((job_id, _send(client, job_id, priority)) for job_id in job_ids)
    return (replace(outcome, kind="again_of") for outcome in in_flight(client, submissions))


def _send(client: Client, job_id: str, priority: str) -> wire.Job | str:
    """Return the new job, or why there is none. By its idempotency key a concurrent command gets the same job."""
    try:
        return client.classify_again(job_id, f"again-{job_id}", priority)
    except Refused as error:
        return error.detail


def _ask_serving(client: Client) -> str:
    serving = client.readiness().model_sha256
    if serving is None:
        raise Unavailable("No worker is alive, or workers serve different models: it is unclear which should answer.")
    return serving
