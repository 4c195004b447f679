"""PyOD's detectors on one split: `python pyod_detectors.py split.npz seed NAME…`.

The file holds `train`, `test` and `label`. Prints a JSON object: name → AUROC and seconds.
"""

import json
import sys
import time
from importlib import import_module

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

MODULES = {
    "ECOD": "ecod", "LOF": "lof", "AutoEncoder": "auto_encoder", "VAE": "vae",
}  # fmt: skip


def main() -> None:
    """Defaults of each, with the seed where it takes one."""
    path, seed, *names = sys.argv[1:]
    split = np.load(path)
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    found = {}
    for name in names:
        started = time.perf_counter()
        make = getattr(import_module(f"pyod.models.{MODULES[name]}"), name)
        seeded = {"random_state": int(seed)} if name in ("AutoEncoder", "VAE") else {}
        detector = make(**seeded)
        detector.fit(split["train"])
        scores = np.nan_to_num(detector.decision_function(split["test"]))
        found[name] = {
            "auroc": float(roc_auc_score(split["label"], scores)),
            "seconds": time.perf_counter() - started,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
