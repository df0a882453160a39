"""The usual design, as the documentation of Flask and Celery shows it: Flask hands a task to Celery, clients poll.

https://flask.palletsprojects.com/en/stable/patterns/celery/: `celery_init_app`, a shared task whose result is kept, and
a route that tells whether it is ready. The film travels as base64 inside the message, the result lies in Redis, the
network is Keras' and is asked by `model.predict`. The network gives features beside its logits, so that Grad-CAM costs
no gradient: the cheapest way there is. gunicorn serves `create_app()`; `celery -A tests.bench.peers.tutorial worker`
finds `app`. BENCH_REDIS_URL and BENCH_THREADS (TensorFlow's, 0 for its own choice) are in the environment.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from celery import Celery, Task, shared_task
from celery.result import AsyncResult
from celery.signals import worker_process_init
from flask import Flask, request

from shared.arrays import FloatArray
from shared.manifest import ModelManifest, read_manifest
from tests.bench.peers import work
from worker.serving import SHIPPED_MODEL

REDIS_URL, THREADS = "BENCH_REDIS_URL", "BENCH_THREADS"


def celery_init_app(app: Flask) -> Celery:
    """Flask's pattern: tasks run in the application's context."""

    class FlaskTask(Task):  # type: ignore[misc]  # Celery has no types
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


def create_app() -> Flask:
    """The web application."""
    app = Flask(__name__)
    url = os.environ[REDIS_URL]
    # the one setting beyond the pattern: a child has longer than 4 s to load TensorFlow
    app.config["CELERY"] = {"broker_url": url, "result_backend": url, "worker_proc_alive_timeout": 120.0}
    celery_init_app(app)

    @app.post("/films")
    def submit() -> dict[str, object]:
        result = classify.delay(base64.b64encode(request.get_data()).decode())
        return {"result_id": result.id}

    @app.get("/results/<result_id>")
    def task_result(result_id: str) -> dict[str, object]:
        result = AsyncResult(result_id)
        return {
            "ready": result.ready(),
            "successful": result.successful(),
            "value": result.result if result.ready() and result.successful() else None,
        }

    return app


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network that is loaded."""

    manifest: ModelManifest
    model: Any  # Keras has no types
    columns: FloatArray


_loaded: Loaded | None = None


@worker_process_init.connect  # type: ignore[untyped-decorator]
def load(**_sent: object) -> None:
    """Load the network in each child, after the fork, and warm it up."""
    global _loaded  # noqa: PLW0603  one a process, as is usual
    import keras  # noqa: PLC0415  the web process does without
    import tensorflow as tf  # noqa: PLC0415  likewise

    from worker.engine.keras_network import build_halves, set_arrays  # noqa: PLC0415
    from worker.engine.weights import load_weights  # noqa: PLC0415

    threads = int(os.environ.get(THREADS, "0"))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    manifest = read_manifest(SHIPPED_MODEL)
    weights = load_weights(SHIPPED_MODEL, manifest)
    trunk, head = build_halves(weights.architecture, manifest.target_layer)
    set_arrays((trunk, head), weights.architecture, weights.arrays)
    model = keras.Model(trunk.input, [head(trunk.output), trunk.output])
    _loaded = Loaded(manifest, model, weights.arrays[f"{weights.architecture.layers[-1].name}.kernel"])
    model.predict(np.zeros((1, *manifest.input_shape), np.float32), verbose=0)


@shared_task(ignore_result=False)  # type: ignore[untyped-decorator]
def classify(film: str) -> dict[str, Any]:
    """One film, base64, to its probabilities and map."""
    assert _loaded is not None
    x = work.prepare(base64.b64decode(film), work.PILLOW, _loaded.manifest)
    logits, features = _loaded.model.predict(x[np.newaxis], verbose=0)
    (answer,) = work.conclude(logits, features, _loaded.columns, _loaded.manifest)
    return answer.to_json()


def __getattr__(name: str) -> Celery:
    """Make `app` when Celery's command asks for it: nothing happens at import."""
    if name in {"app", "celery"}:
        return create_app().extensions["celery"]
    raise AttributeError(name)
