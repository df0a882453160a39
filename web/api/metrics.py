"""`/metrics`: the numbers to scale by, in Prometheus' text format, read from the database at each scrape.

All metrics are gauges, so it does not matter which web process is scraped, or when it was started.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from flask import Blueprint, Response, g

from shared import home
from shared.db import schema
from shared.db.gauges import Gauges, read_gauges
from shared.greenlets import SingleFlight
from shared.version import CODE_VERSION
from shared.wiring import Resources
from web import security
from web.backpressure import DISK_S, Backpressure
from web.offload import read, run_sql

Sample = tuple[dict[str, str], float]
"""Labels and value of one sample."""

UP: Final = {
    "broker_up": "1 where the broker answers.",
    "database_writable": "1 where the database takes changes; films are refused where it is read-only.",
    "films_writable": "1 where the films' folder takes changes; films are refused where it is read-only.",
}


def create_blueprint(resources: Resources, admission: Backpressure) -> Blueprint:
    """Return the route over `resources`."""
    metrics = Blueprint("metrics", __name__)
    database = resources.database
    films = SingleFlight(lambda: home.is_open_to_films(resources.settings), DISK_S)

    @metrics.get("/metrics")
    def get_metrics() -> Response:
        security.check_operator(g.principal)
        gauges = read(database, lambda sql: read_gauges(sql, database.now(sql)))
        up = {
            "broker_up": resources.queue.is_up(),
            "database_writable": run_sql(database, lambda: schema.takes_changes(database)),
            "films_writable": _is_open(films),
        }
        return _answer([*_of_database(gauges), *_of_process(admission.find_free_bytes(), up)])

    return metrics


def _is_open(films: SingleFlight[bool]) -> bool:
    """Whether the films' folder takes changes; False where its disk does not answer."""
    try:
        return films.ask()
    except (OSError, TimeoutError):
        return False


def _of_database(gauges: Gauges) -> Iterator[tuple[str, str, list[Sample]]]:
    """Yield name, help text and samples of each metric."""
    by_priority = [({"priority": priority.value}, waiting) for priority, waiting in gauges.waiting.items()]
    yield "queued_films", "Films that wait for a worker.", [(label, w.films) for label, w in by_priority]
    yield (
        "oldest_queued_film_seconds",
        "Since when the film has waited that came first; 0 where none waits.",
        [(label, w.oldest_s) for label, w in by_priority],
    )
    yield (
        "ended_jobs_per_second",
        "Jobs that came to each end, over the last minute; stored answers among them.",
        [({"status": state.value}, rate) for state, rate in gauges.ended_per_s.items()],
    )
    yield (
        "failed_jobs_per_second",
        "Jobs that failed, over the last minute, by code; none where none did.",
        [({"code": code}, rate) for code, rate in gauges.failed_per_s.items()],
    )
    yield (
        "queue_workers",
        "Workers alive that take from this queue: films of a priority that nobody serves wait for ever.",
        [({"queue": queue}, n) for queue, n in gauges.queue_workers.items()],
    )
    for name, help_text, value in (
        ("running_films", "Films that a worker has.", gauges.running),
        (
            "finished_films_per_second",
            "Films that workers took and that ended, over the last minute.",
            gauges.finished_per_s,
        ),
        ("queued_explanations", "Maps asked for that wait for a worker.", gauges.explanations),
        ("pending_deliveries", "Deliveries to webhooks that are to be tried.", gauges.pending_deliveries),
        ("failed_deliveries", "Deliveries to webhooks that were given up and are kept.", gauges.failed_deliveries),
        ("workers", "Workers alive that take films.", gauges.workers),
        ("explainers", "Workers alive that make explanations.", gauges.explainers),
    ):
        yield name, help_text, [({}, value)]


def _of_process(free_bytes: int | None, up: Mapping[str, bool]) -> Iterator[tuple[str, str, list[Sample]]]:
    for name, help_text in UP.items():
        yield name, help_text, [({}, float(up[name]))]
    yield (
        "disk_free_bytes",
        "Free on the disk of PLAINFILM_HOME, or on its films' where that has less.",
        [] if free_bytes is None else [({}, free_bytes)],
    )
    yield "disk_up", "1 where the disk says how much is free.", [({}, float(free_bytes is not None))]
    yield "build_info", "1, with the version that answers.", [({"version": CODE_VERSION}, 1)]


def _answer(families: Iterable[tuple[str, str, list[Sample]]]) -> Response:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415  1.3 MB, loaded
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415  by the first scrape

    class Collector:
        def collect(self) -> Iterator[GaugeMetricFamily]:
            for name, help_text, samples in families:
                labels = list(samples[0][0]) if samples else []
                family = GaugeMetricFamily(f"plainfilm_{name}", help_text, labels=labels)
                for of_sample, value in samples:
                    family.add_metric(list(of_sample.values()), value)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
