"""What a stream found, as one HTML page: `python scripts/anomaly_report.py [since=… until=…]`."""

import json
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pipelines.anomalies.report.findings import gather, moment
from pipelines.anomalies.report.page import figures, write_page
from pipelines.anomalies.store import connect
from scripts.commands import CommandError
from scripts.entrypoint import entrypoint


@entrypoint("anomaly_report")
def main(cfg: DictConfig) -> None:
    """Gather, draw, and say where the page is."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    try:
        since, until = moment(cfg.since), moment(cfg.until)
    except ValueError as error:
        raise CommandError(
            f"since={cfg.since} until={cfg.until}: {error}; give ISO-8601, "
            "such as 2026-01-31T12:00Z"
        ) from error
    scores = instantiate(cfg.scores)  # first: its module adds tables that connecting makes
    engine = connect(cfg.anomalies.store)
    truth = Path(cfg.truth) if cfg.truth else None
    findings = gather(engine, scores, since, until, truth)
    page = output / "anomalies.html"
    write_page(findings, page, cfg.sources, cfg.points, cfg.gravest)
    report = {"figures": figures(findings)} | {
        f"precision_by_{name}": [p._asdict() for p in rows]
        for name, rows in findings.precision.items()
    }
    (output / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    engine.dispose()
    print(page)


if __name__ == "__main__":
    main()
