"""A sentiment artifact that answers in this process, on its processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.artifact import EXACT, Artifact
from models.cores import cores
from models.sentiment.predictor import Array, Predictor
from models.session import session


def local_predictor(
    artifact: Artifact,
    threads: int = 0,
    batch_tokens: int = 256,
    explained_tokens: int = 128,
    graph: Path | None = None,
) -> Predictor:
    """A predictor around the artifact's graphs.

    Args:
        threads: batches at a time; 0: as many as cores.
        batch_tokens, explained_tokens: see `Predictor`.
        graph: this one in all runs instead of the artifact's.
    """
    quick = session(graph or artifact.model, threads=1)
    both = graph is None and EXACT in artifact.signature.files
    whole = session(artifact.path / EXACT, threads=1) if both else quick

    def run(feed: Mapping[str, Array], /, *, exact: bool) -> Sequence[Array]:
        logits: Sequence[Array] = (whole if exact else quick).run(None, dict(feed))
        return logits

    return Predictor(artifact, run, batch_tokens, threads or cores(), explained_tokens)
