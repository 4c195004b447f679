"""Child: training sequences per second of RecTools' SASRec. Runs in .venv-peers."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class Clock(pl.Callback):
    """Times steps after the warm-up ones, the fetching of batches included."""

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.sequences = 0
        self.started = self.ended = 0.0

    def on_train_batch_end(self, trainer, module, outputs, batch, index) -> None:  # type: ignore[no-untyped-def]
        self.ended = time.perf_counter()
        if index < self.warmup:
            self.started = self.ended
        else:
            self.sequences += len(batch["x"])


def read(path: Path) -> pd.DataFrame:
    """Interactions as RecTools wants them, a second apart in the order of the file."""
    table = np.loadtxt(path, dtype=np.int64)
    return pd.DataFrame(
        {
            Columns.User: table[:, 0],
            Columns.Item: table[:, 1],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(np.arange(len(table)), unit="s"),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="`user item` a line")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--blocks", type=int, required=True)
    parser.add_argument("--heads", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--loss", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warmup", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    frame = read(args.data)

    def trainer() -> pl.Trainer:
        return pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            limit_train_batches=args.warmup + args.steps,
            callbacks=[Clock(args.warmup)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    model = SASRecModel(
        n_factors=args.dim,
        n_blocks=args.blocks,
        n_heads=args.heads,
        session_max_len=args.length,
        batch_size=args.batch,
        loss=args.loss,
        get_trainer_func=trainer,
    )
    model.fit(Dataset.construct(frame))
    # RecTools trains with a copy of the trainer.
    clock = next(c for c in model.fit_trainer.callbacks if isinstance(c, Clock))
    rate = clock.sequences / (clock.ended - clock.started)
    print(json.dumps({"sequences_per_s": rate, "sequences": clock.sequences}))


if __name__ == "__main__":
    main()
