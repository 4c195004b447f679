"""BentoML over the same ONNX file, adaptive batching; MODEL and MAX_BATCH come by environment."""

from __future__ import annotations

import os

import bentoml
from model import Model

MAX_BATCH = int(os.environ["MAX_BATCH"])


@bentoml.service(workers=1, traffic={"timeout": 30})
class Ranker:
    def __init__(self) -> None:
        self.model = Model(os.environ["MODEL"])

    if MAX_BATCH > 1:

        @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=1000)
        def rank(self, histories: list[list[int]]) -> list[dict]:
            return self.model.rank(histories)

    else:

        @bentoml.api
        def rank(self, histories: list[list[int]]) -> list[dict]:
            return self.model.rank(histories)
