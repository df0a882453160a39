"""`/metrics`: what an operator scales by, in Prometheus' text format, read from the database at each scrape.

Gauges alone, so it does not matter which web process is asked, or when it was started.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask import Blueprint, Response, g

from shared.db.gauges import Gauges, read_gauges
from shared.version import CODE_VERSION
from shared.wiring import Resources
from web import security
from web.backpressure import Backpressure
from web.offload import read

Sample = tuple[dict[str, str], float]
"""Labels and value."""


def create_blueprint(resources: Resources, admission: Backpressure) -> Blueprint:
    """The route over `resources`."""
    metrics = Blueprint("metrics", __name__)

    @metrics.get("/metrics")
    def get_metrics() -> Response:
        security.check_operator(g.principal)
        found = read(resources.database, lambda sql: read_gauges(sql, resources.database.now(sql)))
        free_bytes = admission.find_free_bytes()
        return _answer([*_of_database(found), *_of_process(free_bytes, is_broker_up=resources.queue.is_up())])

    return metrics


def _of_database(found: Gauges) -> Iterator[tuple[str, str, list[Sample]]]:
    """Name, help and samples of each family."""
    classes = [({"priority": priority.value}, waiting) for priority, waiting in found.waiting.items()]
    yield "queued_films", "Films that wait for a worker.", [(label, w.films) for label, w in classes]
    yield (
        "oldest_queued_film_seconds",
        "Since when the film has waited that came first; 0 where none waits.",
        [(label, w.oldest_s) for label, w in classes],
    )
    yield (
        "ended_jobs_per_second",
        "Jobs that came to each end, over the last minute; stored answers among them.",
        [({"status": state.value}, rate) for state, rate in found.ended_per_s.items()],
    )
    yield (
        "failed_jobs_per_second",
        "Jobs that failed, over the last minute, by code; none where none did.",
        [({"code": code}, rate) for code, rate in found.failed_per_s.items()],
    )
    yield (
        "queue_workers",
        "Workers alive that take from this queue: films of a class that nobody serves wait for ever.",
        [({"queue": queue}, n) for queue, n in found.queue_workers.items()],
    )
    for name, told, value in (
        ("running_films", "Films that a worker has.", found.running),
        (
            "finished_films_per_second",
            "Films that workers took and that ended, over the last minute.",
            found.finished_per_s,
        ),
        ("queued_explanations", "Maps asked for that wait for a worker.", found.explanations),
        ("pending_deliveries", "Deliveries to webhooks that are to be tried.", found.pending_deliveries),
        ("failed_deliveries", "Deliveries to webhooks that were given up and are kept.", found.failed_deliveries),
        ("workers", "Workers alive that take films.", found.workers),
        ("explainers", "Workers alive that make explanations.", found.explainers),
    ):
        yield name, told, [({}, value)]


def _of_process(free_bytes: int | None, *, is_broker_up: bool) -> Iterator[tuple[str, str, list[Sample]]]:
    yield "broker_up", "1 where the broker answers.", [({}, float(is_broker_up))]
    yield (
        "disk_free_bytes",
        "Free on the disk of PLAINFILM_HOME, or on its films' where that has less.",
        [] if free_bytes is None else [({}, free_bytes)],
    )
    yield "disk_up", "1 where the disk says how much is free.", [({}, float(free_bytes is not None))]
    yield "build_info", "1, with the version that answers.", [({"version": CODE_VERSION}, 1)]


def _answer(families: Iterable[tuple[str, str, list[Sample]]]) -> Response:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415  1.3 MB: where
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415  nobody scrapes it is not loaded

    class Found:
        def collect(self) -> Iterator[GaugeMetricFamily]:
            for name, told, samples in families:
                labels = list(samples[0][0]) if samples else []
                family = GaugeMetricFamily(f"plainfilm_{name}", told, labels=labels)
                for of_sample, value in samples:
                    family.add_metric(list(of_sample.values()), value)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Found())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
