"""What another policy would have earned: `python scripts/evaluate_policy.py log=… policy=…`."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models.recommender.policy.evaluation import show
from models.report import Report, conditions
from scripts.entrypoint import entrypoint


@entrypoint("evaluate_policy")
def main(cfg: DictConfig) -> None:
    """Print every estimate beside what the log's policy earned; write metrics.json."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    rows = instantiate(cfg.reader).read()
    verdict = instantiate(cfg.evaluation)(rows, instantiate(cfg.policy))
    show(verdict)
    Report(
        model=verdict.metrics(),
        floors={"logged": verdict.logged._asdict()},
        data={"name": str(cfg.log), "rows": rows.read},
        conditions=conditions(),
    ).write(output / "metrics.json")


if __name__ == "__main__":
    main()
