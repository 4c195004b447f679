"""Look at the feature store: `python scripts/monitor.py features | quarantine`.

`features` measures freshness, completeness, outliers, drift and training/serving skew; it leaves
metrics.json, features.html, features.prom and examples of skew in output_dir. With `watch=true` it
looks again every `interval_s` seconds and answers /metrics. `quarantine` lists rejected rows.
"""

import difflib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from feature_repo.monitoring.gauges import Gauges
from feature_repo.monitoring.monitor import FeatureMonitor
from feature_repo.monitoring.page import write_page
from feature_repo.monitoring.report import Report
from feature_repo.quality.rejected import newest, summary
from feature_repo.store import StoreError
from feature_repo.view import View
from feature_repo.views import VIEWS
from scripts.commands import CommandError
from scripts.entrypoint import entrypoint

log = logging.getLogger(__name__)


class FindingsError(Exception):
    """There are findings, and `fail_on_alert=true` asked to fail then."""

    exit_code = 3


def look(cfg: DictConfig, views: Sequence[View], monitor: FeatureMonitor, gauges: Gauges) -> Report:
    """Measure once, and write what was found."""
    output = Path(cfg.output_dir)
    report = gauges.report = monitor(views)
    gauges.write(Path(cfg.textfile))
    write_page(report, output / "features.html")
    examples = "".join(json.dumps(e, default=str) + "\n" for e in report.skew.examples)
    (output / "skew_examples.jsonl").write_text(examples, encoding="utf-8")
    text = json.dumps(report.as_dict(), indent=2)
    (output / "metrics.json").write_text(text + "\n", encoding="utf-8")
    for view in report.views:
        print(f"{view.name:28} {report.status(view.name):9} {view.rows:9,} rows")
    for alert in report.alerts:
        where = f"{alert.view}:{alert.feature}" if alert.feature else alert.view
        print(f"{alert.severity}: {where}: {alert.text}")
    print(f"{output / 'features.html'} ({report.seconds:.1f} s)", flush=True)
    return report


def features(cfg: DictConfig, views: Sequence[View]) -> None:
    monitor: FeatureMonitor = instantiate(cfg.monitoring)
    if cfg.save_baseline:
        monitor.profile(views).save(Path(cfg.save_baseline))
        print(f"baseline saved: {cfg.save_baseline}")
    gauges = Gauges()
    if cfg.watch:
        watch(cfg, views, monitor, gauges)
    report = look(cfg, views, monitor, gauges)
    if report.alerts and cfg.fail_on_alert:
        raise FindingsError(f"{len(report.alerts)} findings; see {cfg.output_dir}/metrics.json")


def watch(cfg: DictConfig, views: Sequence[View], monitor: FeatureMonitor, gauges: Gauges) -> None:
    """Until interrupted. A look that fails is counted; the gauges stay as they were."""
    server = gauges.serve(cfg.host, cfg.port)
    print(f"http://{cfg.host}:{server.server_port}/metrics", flush=True)
    while True:
        try:
            look(cfg, views, monitor, gauges)
        except Exception:
            gauges.failures += 1
            log.exception("this look at the features failed")
        time.sleep(cfg.interval_s)


def quarantine(cfg: DictConfig, views: Sequence[View]) -> None:
    """Which rules were broken how often, and the rows rejected last."""
    store = Path(cfg.monitoring.folder)
    found = {}
    with pl.Config(tbl_rows=-1, tbl_cols=-1, fmt_str_lengths=160, tbl_width_chars=200,
                   tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):  # fmt: skip
        for view in views:
            rules = summary(store, view)
            if rules.is_empty():
                continue
            found[view.full_name] = rules.with_columns(
                pl.col("first", "last").dt.to_string("iso")
            ).to_dicts()
            rows = newest(store, view, cfg.limit)
            print(f"\n{view.full_name}: {store / 'quarantine' / view.full_name}")
            print(rules)
            print(rows.select("rejected_at", view.key, "reason"))
    if not found:
        print("quarantine is empty")
    text = json.dumps({"quarantine": found}, indent=2)
    (Path(cfg.output_dir) / "metrics.json").write_text(text + "\n", encoding="utf-8")


def chosen(names: Sequence[str] | None) -> list[View]:
    """Views by name; None: all of them."""
    known = {v.full_name: v for v in VIEWS}
    for name in names or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or known
            raise StoreError(f"no view {name!r}; nearest: {', '.join(near)}")
    return [known[n] for n in names] if names else list(VIEWS)


COMMANDS = {"features": features, "quarantine": quarantine}


@entrypoint("monitor", dict.fromkeys(COMMANDS, ()))
def main(cfg: DictConfig) -> None:
    """Run one of the commands."""
    if cfg.command not in COMMANDS:
        raise CommandError(f"no command {cfg.command!r}; there are: {', '.join(COMMANDS)}")
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    COMMANDS[cfg.command](cfg, chosen(list(cfg.views) if cfg.views else None))


if __name__ == "__main__":
    main()
