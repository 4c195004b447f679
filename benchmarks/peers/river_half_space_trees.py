"""Events a second of River's HalfSpaceTrees, scoring each and learning from it, without a broker.

`python river_half_space_trees.py <values.npy>`: [N, F], scaled to 0…1 as the trees want it.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from river import __version__
from river.anomaly import HalfSpaceTrees

values = np.load(sys.argv[1])
names = [f"f{n}" for n in range(values.shape[1])]
rows = [dict(zip(names, row, strict=True)) for row in values.tolist()]
trees = HalfSpaceTrees(n_trees=10, height=8, seed=0)
cpu, began = time.process_time(), time.perf_counter()
for row in rows:
    trees.score_one(row)
    trees.learn_one(row)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
print(
    json.dumps(
        {
            "events_per_s": len(rows) / seconds,
            "events_per_cpu_s": len(rows) / cpu,
            "version": __version__,
        }
    )
)
