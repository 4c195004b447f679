"""Child: Surprise's rating models on given folds. Runs in .venv-peers."""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import surprise

DRAWN = {"SVD", "SVDpp", "NMF"}  # classes that take a seed; the others draw nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ratings", type=Path, required=True, help="user,item,rating,fold a line")
    parser.add_argument("--scale", type=float, nargs=2, required=True)
    parser.add_argument("--models", nargs="+", required=True, help="classes of surprise")
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    folds: dict[int, list[tuple[str, str, float]]] = defaultdict(list)
    with args.ratings.open(newline="") as file:
        for user, item, stars, fold in csv.reader(file):
            folds[int(fold)].append((user, item, float(stars)))
    results: dict[str, list[dict[str, float]]] = {}
    for name in args.models:
        results[name] = []
        for held in sorted(folds):
            rows = [(*row, None) for fold, part in folds.items() if fold != held for row in part]
            data = surprise.Dataset(surprise.Reader(rating_scale=tuple(args.scale)))
            train = data.construct_trainset(rows)
            kind = getattr(surprise, name)
            model = kind(random_state=args.seed) if name in DRAWN else kind(verbose=False)
            started = time.perf_counter()
            model.fit(train)
            fitted = time.perf_counter()
            answers = model.test(folds[held])
            results[name].append(
                {
                    "rmse": surprise.accuracy.rmse(answers, verbose=False),
                    "mae": surprise.accuracy.mae(answers, verbose=False),
                    "fit_s": fitted - started,
                    "test_s": time.perf_counter() - fitted,
                }
            )
    print(json.dumps({"folds": results, "version": version("scikit-surprise")}))


if __name__ == "__main__":
    main()
