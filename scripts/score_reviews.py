"""Judge the warehouse's reviews: `python scripts/score_reviews.py`, then materialize.

Reviews that the version in force has judged already are left alone, so that a stopped run goes on
and a second one does nothing.
"""

import json
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from scripts.entrypoint import entrypoint


@entrypoint("score_reviews")
def main(cfg: DictConfig) -> None:
    """Fill the warehouse's review_sentiment."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    done = instantiate(cfg.scorer).score()
    (output / "metrics.json").write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
    print(
        f"{done['reviews']:.0f} reviews, {done['scored']:.0f} of them scored now on "
        f"{done['days']:.0f} days, {done['without']:.0f} of these cannot be judged; "
        f"{done['seconds']:.1f} s"
    )


if __name__ == "__main__":
    main()
