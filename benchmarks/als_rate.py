"""Child: seconds of implicit's ALS by itself, and through our module, in turns in one process.

`python benchmarks/als_rate.py <turns> data=… data.path=… model=recommender/als …`, on all
interactions. "Bare" is the call `fit(matrix)` of the library on a matrix that is there already;
ours makes the matrix, fits, and keeps what scoring needs.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from threadpoolctl import threadpool_limits

from models.recommender.classics.matrix import user_items
from models.recommender.interactions import Interactions
from models.training import prepare_process


def main() -> None:
    turns, overrides = int(sys.argv[1]), sys.argv[2:]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("cross_validate", [*overrides, f"paths.root={ROOT}"])
    prepare_process(cfg)
    data = Interactions.from_frame(instantiate(cfg.data.reader).read())
    everything = np.ones(len(data), dtype=bool)
    matrix = user_items(data, everything)
    bare, ours = [], []
    for turn in range(turns + 1):
        library = instantiate(cfg.model.library)
        model = instantiate(cfg.model)
        started = time.perf_counter()
        with threadpool_limits(1, "blas"):  # the library's own advice, for both
            library.fit(matrix, show_progress=False)
        middle = time.perf_counter()
        model.fit(data, everything)
        ended = time.perf_counter()
        if turn:  # the first warms up
            bare.append(middle - started)
            ours.append(ended - middle)
        assert np.allclose(library.item_factors, model.library.item_factors, atol=1e-3), (
            "both fit the same model"
        )
    print(json.dumps({"bare_s": bare, "ours_s": ours, "rows": len(data)}))


if __name__ == "__main__":
    main()
