"""Child: users a second of RecTools' recommend and metrics. Runs in .venv-peers.

The same question as ours: each user's last item tests, the rest is history and filtered from the
lists; hit rate, NDCG, MRR and coverage at the same list lengths. RecTools gets its metrics from
the lists it makes, which are as long as the longest of them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import MRR, NDCG, CatalogCoverage, HitRate, calc_metrics
from rectools.models import SASRecModel
from rectools_sasrec import read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="`user item` a line")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--blocks", type=int, required=True)
    parser.add_argument("--heads", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True, help="users scored at once")
    parser.add_argument("--ks", type=int, nargs="+", required=True)
    parser.add_argument("--passes", type=int, required=True)
    parser.add_argument("--ranking", choices=["torch", "cpu"], required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    frame = read(args.data)
    last = frame.groupby(Columns.User).tail(1).index
    history, test = frame.drop(last), frame.loc[last]
    test = test[test[Columns.Item].isin(history[Columns.Item])]

    def trainer() -> pl.Trainer:
        return pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            limit_train_batches=1,
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
        recommend_batch_size=args.batch,
        recommend_use_torch_ranking=args.ranking == "torch",
        recommend_n_threads=args.threads,
        get_trainer_func=trainer,
    )
    dataset = Dataset.construct(history)
    model.fit(dataset)
    kinds = {"hit_rate": HitRate, "ndcg": NDCG, "mrr": MRR, "coverage": CatalogCoverage}
    metrics = {f"{n}@{k}": kind(k=k) for n, kind in kinds.items() for k in args.ks}
    catalog = history[Columns.Item].unique()
    users = test[Columns.User].to_numpy()
    seconds = []
    for _ in range(args.passes):
        started = time.perf_counter()
        lists = model.recommend(users=users, dataset=dataset, k=max(args.ks), filter_viewed=True)
        found = calc_metrics(metrics, lists, test, history, catalog)
        seconds.append(time.perf_counter() - started)
    print(
        json.dumps(
            {
                "users_per_s": len(users) / min(seconds),
                "users": len(users),
                "metrics": len(found),
            }
        )
    )


if __name__ == "__main__":
    main()
