"""The ONNX Runtime handler: an artifact, a session configured by `model-config.yaml`, a codec.

TorchServe's own base handler takes every core for every worker and cannot call a session; this one
reads providers, threads, spinning and warm-up from the `handler` section of `model-config.yaml`.
All instances of all requests that TorchServe batched are answered together. A bad instance gets its
own error and its neighbours their answers. On CUDA, a graph in half precision is taken where the
artifact brings one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import orjson

from models import artifact
from models.session import SLOW_FUSIONS
from serving.torchserve.codecs import CODECS, Codec, InstanceError
from serving.torchserve.codecs.one_run import Arrays

log = logging.getLogger(__name__)


class OnnxHandler:
    """Loaded once by a worker process; `handle` answers batches of requests."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], gpu: int | None = None) -> None:
        """Open the artifact below `folder` (its SHA-256s are checked) and warm the session up.

        Args:
            settings: the `handler` section of model-config.yaml.
            gpu: the device that TorchServe assigned to this worker.

        Raises:
            ArtifactError: the artifact was changed or is incomplete.
        """
        self.artifact = artifact.load(folder)
        signature = self.artifact.signature
        if signature.task not in CODECS:
            raise ValueError(f"no codec for task {signature.task!r}; there are {sorted(CODECS)}")
        self.codec: Codec = CODECS[signature.task](self.artifact)
        self.max_instances = int(settings["max_instances"])
        graph = self._graph(settings)
        both = graph != artifact.EXACT and artifact.EXACT in signature.files
        self.session = self._open(graph, settings, gpu)
        self.exact = self._open(artifact.EXACT, settings, gpu) if both else self.session
        self.outputs = [o.name for o in signature.outputs]
        self._warm_up(list(settings["warmup_batches"]))

    def handle(self, data: list[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch of HTTP requests; each is `{"instances": […]}`."""
        requests = [self._parse(row) for row in data]
        queries = [q for r in requests if isinstance(r, list) for q in r]
        good = [q for q in queries if not isinstance(q, InstanceError)]
        answers = iter(self._run(good))
        bodies = []
        for index, request in enumerate(requests):
            if isinstance(request, InstanceError):
                context.set_response_status(request.status, _phrase(request), idx=index)
                context.set_response_content_type(index, "application/json")
                bodies.append(self._body([request.as_json()]))
                continue
            predictions = [
                q.as_json() if isinstance(q, InstanceError) else next(answers) for q in request
            ]
            if len(request) == 1 and isinstance(request[0], InstanceError):
                context.set_response_status(request[0].status, _phrase(request[0]), idx=index)
            bodies.append(self._body(predictions))
            context.set_response_content_type(index, "application/json")
        return bodies

    def _parse(self, row: Mapping[str, Any]) -> list[Any] | InstanceError:
        """One HTTP body → checked instances and errors in order, or one error for all of it."""
        body = row.get("body", row.get("data"))
        if isinstance(body, bytes | bytearray | str):
            try:
                body = orjson.loads(body)
            except ValueError as error:
                return InstanceError(400, f"the body is not JSON ({error})")
        instances = body.get("instances") if isinstance(body, dict) else None
        if not isinstance(instances, list) or not instances:
            return InstanceError(400, 'the body is {"instances": [at least one]}')
        if len(instances) > self.max_instances:
            return InstanceError(
                413, f"{len(instances)} instances; at most {self.max_instances} a request"
            )
        return [self._check(i) for i in instances]

    def _check(self, instance: Any) -> Any:
        try:
            return self.codec.check(instance)
        except InstanceError as error:
            return error

    def _run(self, queries: list[Any]) -> list[dict[str, Any]]:
        if not queries:
            return []
        return self.codec.answer(self._feed, queries)

    def _feed(self, feed: Arrays, /, *, exact: bool = False) -> list[Any]:
        answer: list[Any] = (self.exact if exact else self.session).run(self.outputs, feed)
        return answer

    def _body(self, predictions: list[dict[str, Any]]) -> bytes:
        signature = self.artifact.signature
        answer = {
            "model": signature.name,
            "version": signature.version,
            "predictions": predictions,
        }
        return orjson.dumps(answer)

    def _graph(self, settings: Mapping[str, Any]) -> str:
        """A GPU gains nothing from 8-bit weights, which are for CPUs."""
        best = (
            [artifact.HALF, artifact.EXACT]
            if settings["providers"][0] == "CUDAExecutionProvider"
            else []
        )
        files = self.artifact.signature.files
        return next((name for name in best if name in files), self.artifact.model.name)

    def _open(
        self, graph: str, settings: Mapping[str, Any], gpu: int | None
    ) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(settings["intra_op_threads"])
        options.inter_op_num_threads = int(settings["inter_op_threads"])
        options.enable_cpu_mem_arena = bool(settings["cpu_arena"])
        spin = "1" if settings["allow_spinning"] else "0"
        options.add_session_config_entry("session.intra_op.allow_spinning", spin)
        options.add_session_config_entry("session.inter_op.allow_spinning", spin)
        available = onnxruntime.get_available_providers()
        absent = [p for p in settings["providers"] if p not in available]
        if absent:  # ONNX Runtime itself would quietly go on with the CPU
            raise ValueError(f"execution providers {absent} are not here; there are {available}")
        device = settings["device_id"] if settings["device_id"] is not None else gpu
        providers: list[Any] = [
            (name, {"device_id": device})
            if name == "CUDAExecutionProvider" and device is not None
            else name
            for name in settings["providers"]
        ]
        on_cpu = settings["providers"][0] == "CPUExecutionProvider"
        return onnxruntime.InferenceSession(
            str(self.artifact.path / graph),
            options,
            providers=providers,
            disabled_optimizers=SLOW_FUSIONS if on_cpu else None,
        )

    def _warm_up(self, widths: list[int]) -> None:
        """Run real shapes before the worker reports ready: the first request pays nothing."""
        started = time.perf_counter()
        for width in widths:
            for session in dict.fromkeys([self.session, self.exact]):
                session.run(self.outputs, self.codec.example(width))
        log.info("warmed up on batches of %s (%.2f s)", widths, time.perf_counter() - started)


def _phrase(error: InstanceError) -> str:
    """Of the status line, which takes printable ASCII only: anything else breaks the answer."""
    return "".join(c if " " <= c <= "~" else "?" for c in error.detail[:80])
