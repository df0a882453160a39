"""`plainfilm again REASON...`: classify stored films again that failed, or that another model answered, and print.

A film is known by its digest, and what became of it by its newest job. So a command that was cut off goes on where it
was: what it has sent is the film's newest job by then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from rich.console import Console

from shared import wire
from shared.classify import Answer, in_flight, show
from shared.client import Client, Refused
from shared.domain import AgainReason
from shared.errors import Unavailable


def run(client: Client, reasons: Collection[AgainReason], *, since: str | None, priority: str, as_json: bool) -> int:
    """Classify them again and print; the exit status is 1 where any has an error.

    Raises:
        Unavailable: it is not known which model serves, or the service does not answer.
        Refused: the list is, with the service's words.
    """
    serving = _ask_serving(client) if AgainReason.OTHER_MODEL in reasons else None
    console = Console(stderr=True, soft_wrap=True)
    with console.status("looking through the jobs"):
        chosen = list(choose(client.all_jobs(since), reasons, serving))
    console.print(f"{len(chosen)} {'film is' if len(chosen) == 1 else 'films are'} classified again", highlight=False)
    answers = show(classify_again(client, chosen, priority), len(chosen), console, as_json=as_json)
    return 1 if any(answer.error for answer in answers) else 0


def choose(jobs: Iterable[wire.Job], reasons: Collection[AgainReason], serving: str | None) -> Iterator[str]:
    """Ids of the newest jobs of those films that are to be classified again; no film twice.

    Args:
        jobs: the newest first.
        serving: SHA-256 of the model's weights, where it matters.
    """
    newest: dict[str, str] = {}  # of each film its job, '' once it is settled
    for job in jobs:
        film = job.input.sha256
        is_newest = film not in newest
        job_id = newest.setdefault(film, job.id)
        if not job_id:
            continue
        if job.model:
            is_chosen = AgainReason.OTHER_MODEL in reasons and job.model.sha256 != serving
        else:
            is_chosen = is_newest and job.status.value in reasons
        if is_chosen:
            yield job_id
        if is_chosen or job.model or not job.done:
            newest[film] = ""


def classify_again(client: Client, job_ids: Collection[str], priority: str) -> Iterator[Answer]:
    """Answers in this order; one that is refused is an answer with its error."""
    sent = ((job_id, _send(client, job_id, priority)) for job_id in job_ids)
    return (Answer(each.name, each.job, each.error, "again_of") for each in in_flight(client, sent))


def _send(client: Client, job_id: str, priority: str) -> wire.Job | str:
    """The job, or why there is none. Whoever else does the same meanwhile gets the same job by its key."""
    try:
        return client.classify_again(job_id, f"again-{job_id}", priority)
    except Refused as error:
        return error.detail


def _ask_serving(client: Client) -> str:
    serving = client.readiness().model_sha256
    if serving is None:
        raise Unavailable("No worker lives, or workers serve several models: which one is to answer is not known.")
    return serving
