"""A model served by TorchServe, asked through its gRPC door.

The messages are those of `inference.proto` in TorchServe's `model-server.jar`; a request carries
the same JSON as one over HTTP, `{"instances": […]}`, many windows in one call.

Limits: keys of TorchServe expire after an hour; the gateway renews them in their file, which is
read at every call. Where nothing renews them, start TorchServe without them.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
import orjson
from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)
from numpy.typing import NDArray

from pipelines.anomalies.model import AnomalyModel
from pipelines.anomalies.scorers.scorer import Explanation, Scored, Seconds, Windows

log = logging.getLogger(__name__)

_PACKAGE = "org.pytorch.serve.grpc.inference"
_METHOD = f"/{_PACKAGE}.InferenceAPIsService/Predictions"
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class ScorerAwayError(ConnectionError):
    """The model server has not answered for too long."""


class TorchServeScorer:
    """See `Scorer`. A window's events go as `values`, the newest last; missing ones are left out.

    Args:
        address: host:port of TorchServe's gRPC inference.
        keys: its key file; None: it wants no key.
        most_windows: of one call.
        most_failures: windows that fail one by one until the rest of a batch fails together.
        timeout_s: for one call.
        patience_s: how long calls are repeated while the server is away; then events are to review.
    """

    def __init__(
        self,
        model: AnomalyModel,
        address: str,
        keys: str | None,
        most_windows: int,
        most_failures: int,
        timeout_s: float,
        patience_s: float,
    ) -> None:
        self._model = model
        self._address = address
        self._keys = Path(keys) if keys is not None else None
        self._most_windows = most_windows
        self._most_failures = most_failures
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._request, answer = _messages()
        self._channel = grpc.insecure_channel(address)
        self._predict = self._channel.unary_unary(
            _METHOD,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )

    def score(self, values: Windows, time: Seconds) -> Scored:
        count, width = len(values), values.shape[2]
        score = np.full(count, np.nan, np.float32)
        told = Explanation(*(np.full((count, width), np.nan, np.float32) for _ in range(2)))
        failed: dict[int, str] = {}
        hopeless: str | None = None  # the server is away, or the model fails on everything
        single = 0
        waiting = [range(n, min(count, n + self._most_windows))
                   for n in range(0, count, self._most_windows)][::-1]  # fmt: skip
        while waiting:
            rows = waiting.pop()
            try:
                if hopeless is not None:
                    raise ScorerAwayError(hopeless)
                answers = self._ask(values[rows.start : rows.stop], time[rows.start : rows.stop])
            except ScorerAwayError as error:
                hopeless = str(error)
                failed |= dict.fromkeys(rows, f"scoring failed: {error}"[:300])
                continue
            except Exception as error:  # whatever a model server comes up with
                if len(rows) > 1:  # one window that the model fails on fails its whole call
                    middle = len(rows) // 2
                    waiting += [rows[middle:], rows[:middle]]
                    continue
                failed[rows.start] = f"scoring failed: {error}"[:300]
                single += 1
                if single >= self._most_failures:
                    hopeless = str(error)
                continue
            for row, answer in zip(rows, answers, strict=True):
                if "score" not in answer or not np.isfinite(answer["score"]):
                    failed[row] = f"scoring failed: {json.dumps(answer)}"[:300]
                    continue
                score[row] = answer["score"]
                for part, name in zip(told, ("contributions", "expected"), strict=True):
                    part[row] = [answer[name][field] for field in self._model.fields]
        if failed:
            log.error("%d of %d events: %s", len(failed), count, next(iter(failed.values())))

        def explain(rows: NDArray[np.intp]) -> Explanation:
            return Explanation(*(part[rows] for part in told))

        return Scored(score, failed, explain)

    def _ask(self, values: Windows, seconds: Seconds) -> list[dict[str, Any]]:
        fields = self._model.fields
        instances = [
            {
                "values": [
                    {f: v for f, v in zip(fields, event, strict=True) if v == v}
                    for event in window.tolist()
                ],
                "time": moment,
            }
            for window, moment in zip(values, seconds.tolist(), strict=True)
        ]
        body = orjson.dumps({"instances": instances})
        request = self._request(model_name=self._model.name, input={"body": body})
        end = time.monotonic() + self._patience_s
        pause = 0.1
        while True:
            try:
                answer = self._predict(request, timeout=self._timeout_s, metadata=self._metadata())
                predictions = orjson.loads(answer.prediction)["predictions"]
                if len(predictions) != len(instances):
                    raise ValueError(f"{len(predictions)} answers to {len(instances)} windows")
                return list(predictions)
            except grpc.RpcError as error:
                # A worker whose handler failed answers as if it were away, but is not.
                if error.code() not in _AWAY or "Prediction failed" in (error.details() or ""):
                    raise RuntimeError(f"TorchServe: {error.details()}") from error
                if time.monotonic() + pause > end:
                    raise ScorerAwayError(
                        f"TorchServe at {self._address} has not answered for "
                        f"{self._patience_s:g} s ({error.details()})"
                    ) from error
                log.warning("TorchServe at %s: waiting: %s", self._address, error.details())
                time.sleep(pause)
                pause = min(2 * pause, 5.0)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self._keys is None:
            return ()
        key = json.loads(self._keys.read_text(encoding="utf-8"))["inference"]["key"]
        return (("protocol", "gRPC"), ("authorization", f"Bearer {key}"))

    def close(self) -> None:
        self._channel.close()


def _messages() -> tuple[Any, Any]:
    """Classes of `PredictionsRequest` and `PredictionResponse`, as the proto has them."""
    file = descriptor_pb2.FileDescriptorProto(
        name="millrace/torchserve_inference.proto", package=_PACKAGE, syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    request = file.message_type.add(name="PredictionsRequest")
    request.field.add(name="model_name", number=1, type=kinds.TYPE_STRING, label=1)
    request.field.add(name="model_version", number=2, type=kinds.TYPE_STRING, label=1)
    entry = request.nested_type.add(name="InputEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=kinds.TYPE_BYTES, label=1)
    request.field.add(
        name="input", number=3, type=kinds.TYPE_MESSAGE, label=3,
        type_name=f".{_PACKAGE}.PredictionsRequest.InputEntry",
    )  # fmt: skip
    answer = file.message_type.add(name="PredictionResponse")
    answer.field.add(name="prediction", number=1, type=kinds.TYPE_BYTES, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = (f"{_PACKAGE}.{m.name}" for m in (request, answer))
    made = [message_factory.GetMessageClass(pool.FindMessageTypeByName(n)) for n in names]
    return made[0], made[1]
