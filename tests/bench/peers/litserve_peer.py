"""LitServe as its documentation shows it, over plainfilm's OpenVINO graph and preprocessing.

The film is the raw body: FastAPI gives it to `decode_request` as bytes, which is cheaper than a form or base64.
BENCH_PEER in the environment holds the port and what is tuned, as JSON.
"""
# no `from __future__ import annotations`: LitServe and FastAPI read the annotation of `decode_request` itself

import json
import os
from dataclasses import dataclass
from typing import Annotated, Any

import litserve as ls
import numpy as np
from fastapi import Body

from shared.arrays import FloatArray
from shared.processes import die_with_parent
from tests.bench.peers import work

PEER = "BENCH_PEER"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is tuned.

    Attributes:
        workers: processes that decode and infer.
        threads: of OpenVINO in each.
        batch: most films a call; they are waited for `batch_wait_s`.
        decoder: 'pillow' or 'plainfilm'.
        api_servers: processes that speak HTTP.
        fast_queue: ZeroMQ instead of multiprocessing's queue.
    """

    workers: int
    threads: int
    batch: int
    batch_wait_s: float
    decoder: str
    api_servers: int
    fast_queue: bool


class FilmApi(ls.LitAPI):
    """One film in, its probabilities and map out."""

    def __init__(self, tuning: Tuning) -> None:
        super().__init__(max_batch_size=tuning.batch, batch_timeout=tuning.batch_wait_s)
        self.tuning = tuning

    def setup(self, device: str) -> None:
        """Load the network, in the worker: a spawned process."""
        del device
        die_with_parent()
        self.engine = work.open_engine(self.tuning.threads)
        shape = self.engine.manifest.input_shape
        for films in {1, self.tuning.batch}:
            self.engine.infer(np.zeros((films, *shape), np.float32))

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> FloatArray:
        """Bytes to the network's input."""
        return work.prepare(request, self.tuning.decoder, self.engine.manifest)

    def predict(self, x: FloatArray) -> Any:  # Any: one answer or a list of them, as LitServe batches or not
        """One input (H, W, 1), or a batch (N, H, W, 1) that LitServe stacked."""
        if x.ndim == 3:
            return work.classify(self.engine, x[np.newaxis])[0]
        return work.classify(self.engine, np.ascontiguousarray(x))

    def encode_response(self, output: work.Answer) -> dict[str, Any]:
        """As JSON."""
        return output.to_json()


def main() -> None:
    """Serve on loopback until told to stop; no process of it outlives this one."""
    os.register_at_fork(after_in_child=die_with_parent)
    given = json.loads(os.environ[PEER])
    tuning = Tuning(**given["tuning"])
    server = ls.LitServer(
        FilmApi(tuning), accelerator="cpu", devices=1, workers_per_device=tuning.workers, fast_queue=tuning.fast_queue
    )
    server.run(
        host="127.0.0.1",
        port=given["port"],
        num_api_servers=tuning.api_servers,
        generate_client_file=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
