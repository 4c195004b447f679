"""Child: texts a second of one way to classify a list of texts, from raw text to probabilities.

`python benchmarks/sentiment_rate.py <texts.json> <threads> millrace <graph.onnx> <batch_tokens>`
or `… pipeline <training run> <batch_size>`: the `transformers` pipeline with the run's weights.

Prints texts_per_s, the processor's seconds, and the number of each text's leading class. A short
part of the texts runs before the clock starts. No language is detected: the peer detects none.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARMUP = 64  # texts


def main() -> None:
    texts = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    threads = int(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):  # so many cores, whatever a library makes of threads
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))
    makers = {"millrace": millrace, "pipeline": pipeline}
    classify = makers[sys.argv[3]](Path(sys.argv[4]), threads, int(sys.argv[5]))
    classify(texts[:WARMUP])
    started, worked = time.perf_counter(), time.process_time()
    found = classify(texts)
    worked = time.process_time() - worked
    seconds = time.perf_counter() - started
    print(json.dumps({"texts_per_s": len(texts) / seconds, "cpu_s": worked, "classes": found}))


def millrace(graph: Path, threads: int, batch_tokens: int) -> Callable[[list[str]], list[int]]:
    """What batch scoring runs: `local_predictor`, by one graph or, with 8-bit weights, by both."""
    from models import artifact
    from models.sentiment.local import local_predictor

    loaded = artifact.load(graph.parent)
    predictor = local_predictor(
        loaded, threads, batch_tokens, graph=graph if graph.name == artifact.EXACT else None
    )

    def classify(texts: list[str]) -> list[int]:
        answers = predictor.answers(texts, languages=False)
        shares = [list(a.probabilities.values()) for a in answers]
        return [row.index(max(row)) for row in shares]

    return classify


def pipeline(run: Path, threads: int, batch_size: int) -> Callable[[list[str]], list[int]]:
    """`transformers.pipeline("text-classification")` around the same network."""
    import torch
    from transformers import AutoTokenizer, PreTrainedModel
    from transformers import pipeline as transformers_pipeline
    from transformers.modeling_outputs import SequenceClassifierOutput
    from transformers.utils import logging

    from models.pretrained import encoder_folder
    from models.run import Run

    logging.set_verbosity(logging.CRITICAL)  # it lists all classes of models but this one
    opened = Run.open(run)
    torch.set_num_threads(threads)
    net: Any = opened.model.net

    class Classifier(PreTrainedModel):
        """Our encoder, pooling and head behind the interface that the pipeline calls."""

        _supports_sdpa = True  # the encoder inside chose its attention already

        def __init__(self) -> None:
            super().__init__(net.encoder.config)
            self.net = net

        def forward(self, input_ids: torch.Tensor, **_: Any) -> SequenceClassifierOutput:
            return SequenceClassifierOutput(logits=self.net(input_ids))

    names = list(opened.data.texts.classes)
    net.encoder.config.id2label = dict(enumerate(names))
    encoder = opened.config.tokenizer.encoder
    tokenizer = AutoTokenizer.from_pretrained(str(encoder_folder(encoder) or encoder))
    pipe = transformers_pipeline(
        "text-classification", model=Classifier().eval(), tokenizer=tokenizer, device="cpu"
    )

    def classify(texts: list[str]) -> list[int]:
        answers = pipe(texts, batch_size=batch_size, truncation=True)
        return [names.index(a["label"]) for a in answers]

    return classify


if __name__ == "__main__":
    main()
