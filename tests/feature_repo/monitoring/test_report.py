"""The whole look at a store: findings, page and gauges."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from prometheus_client.parser import text_string_to_metric_families

from feature_repo.monitoring.gauges import Gauges
from feature_repo.monitoring.monitor import FeatureMonitor
from feature_repo.monitoring.page import write_page
from feature_repo.monitoring.profile import BaselineError
from feature_repo.monitoring.report import Report
from feature_repo.quality.rules import check, quarantine
from feature_repo.store import StoreError
from feature_repo.views import TELEMETRY_WINDOWS, USER_COUNTERS, VIEWS
from scripts.entrypoint import CONFIGS


def monitor(root: Path, *overrides: str) -> FeatureMonitor:
    """As shipped, for a marketplace of 14 days that ends at 2026-01-01."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "monitor",
            [f"paths.root={root}", "as_of=2026-01-01", "monitoring.current_days=3",
             "monitoring.baseline_days=4", "monitoring.online_keys=50", *overrides],
        )  # fmt: skip
    made = instantiate(cfg.monitoring)
    assert isinstance(made, FeatureMonitor)
    return made


@pytest.fixture(scope="session")
def report(marketplace: Path) -> Report:
    return monitor(marketplace)(VIEWS)


def kinds(report: Report, view: str, feature: str = "") -> set[str]:
    return {a.kind for a in report.of(view, feature)}


def test_every_applied_view_is_looked_at(report: Report) -> None:
    names = {v.name for v in report.views}
    assert names == {
        "user_history", "user_statistics", "user_counters", "item_content", "telemetry_windows",
    }  # fmt: skip
    assert all(v.rows for v in report.views)
    assert all(not v.freshness.late for v in report.views)
    assert report.status("item_content") == "ok"
    text = json.dumps(report.as_dict())
    assert "NaN" not in text
    psi = json.loads(text)["views"]["user_counters"]["features"]["views"]["psi"]
    assert 0 <= psi < 0.1


def test_today_the_marketplace_is_late(marketplace: Path) -> None:
    found = monitor(marketplace, "as_of=null")(VIEWS)
    assert "freshness" in kinds(found, "user_history")
    assert found.status("user_history") == "critical"


def test_planted_drift_nulls_and_outliers_are_found(copied: Callable[[], Path]) -> None:
    root = copied()
    folder = TELEMETRY_WINDOWS.folder(root / "data" / "features")
    for day in ("2025-12-30", "2025-12-31"):
        for file in (folder / f"day={day}").glob("*.parquet"):
            spike = pl.int_range(pl.len()) % 10 == 0
            pl.read_parquet(file, hive_partitioning=False).with_columns(
                pl.col("cpu_mean_15m") + 40,
                pl.when(pl.int_range(pl.len()) % 3 > 0).then("memory_mean_15m"),
                pl.when(spike).then(1e6).otherwise("requests_max_60m").alias("requests_max_60m"),
            ).write_parquet(file)
    found = monitor(root)(VIEWS)
    assert kinds(found, "telemetry_windows", "cpu_mean_15m") == {"drift"}
    assert kinds(found, "telemetry_windows", "memory_mean_15m") >= {"nulls"}
    assert kinds(found, "telemetry_windows", "requests_max_60m") & {"outliers", "drift"}
    assert kinds(found, "telemetry_windows", "cpu_max_60m") == set()
    quiet = monitor(root, "monitoring.limits.quiet=['telemetry_windows:cpu_mean_15m']")(VIEWS)
    assert kinds(quiet, "telemetry_windows", "cpu_mean_15m") == set()


def test_rejected_rows_and_empty_days_are_found(copied: Callable[[], Path]) -> None:
    root = copied()
    store = root / "data" / "features"
    file = sorted(USER_COUNTERS.folder(store).glob("day=2025-12-2*/*.parquet"))[0]
    rows = pl.read_parquet(file, hive_partitioning=False).with_columns(views=pl.lit(-1, pl.Int64))
    _, bad = check(USER_COUNTERS, rows)
    clean = monitor(root)
    quarantine(store, USER_COUNTERS, bad, clean(VIEWS).now)
    file.unlink()
    found = clean(VIEWS)
    assert kinds(found, "user_counters") >= {"quarantine", "completeness"}
    state = next(v for v in found.views if v.name == "user_counters")
    assert state.quarantine.recent == len(bad)
    assert [str(d) for d in state.completeness.empty_days] == [file.parent.name[4:]]


def test_a_saved_baseline_is_compared_with(marketplace: Path, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    monitor(marketplace).profile(VIEWS).save(path)
    same = monitor(marketplace, f"monitoring.baseline_file={path}")(VIEWS)
    assert same.baseline.startswith("2025-12-29")
    for view in same.views:
        for feature in view.features:
            assert feature.drift.psi in (0, None)
            assert feature.drift.level in ("none", "unknown")
    with pytest.raises(BaselineError, match="no view has rows"):
        monitor(marketplace, "as_of=2020-01-01").profile(VIEWS)


def test_a_wrong_time_is_named(marketplace: Path) -> None:
    with pytest.raises(StoreError, match=r"as_of=yesterday is no time; write 2026-01-01"):
        monitor(marketplace, "as_of=yesterday")(VIEWS)


class _Page(HTMLParser):
    """Tags, references and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href"):
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


def test_the_page_shows_everything_and_needs_nothing(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "features.html"
    write_page(report, path)
    text = path.read_text()
    page = _Page(text)
    assert all(r.startswith(("#", "data:image/svg+xml")) for r in page.references)
    assert not re.search(r"@import|url\(", text)
    assert {v.name for v in report.views} <= set(page.ids)
    pictures = [r for r in page.references if r.startswith("data:")]
    assert len(pictures) == sum(len(v.features) for v in report.views)
    shown = " ".join(page.text)
    assert "As of 2026-01-01 00:00 UTC" in shown
    assert "Training/serving skew" in shown
    for alert in report.alerts:
        assert alert.text in shown
    assert 'name="viewport"' in text


def test_the_page_escapes_what_it_is_given(report: Report, tmp_path: Path) -> None:
    view = report.views[0]._replace(description="<script>alert(1)</script>")
    changed = Report(**{**vars(report), "views": [view]})
    write_page(changed, tmp_path / "features.html")
    assert "<script>" not in (tmp_path / "features.html").read_text()


def samples(text: str) -> dict[tuple[str, str, str], float]:
    """(name, view, feature) → value."""
    return {
        (
            s.name,
            s.labels.get("view", ""),
            s.labels.get("feature", s.labels.get("store", "")),
        ): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_gauges_over_http_and_in_a_file(report: Report, tmp_path: Path) -> None:
    gauges = Gauges()
    server = gauges.serve("127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        assert "millrace_feature_psi" not in _get(url)
        gauges.report = report
        scraped = samples(_get(url))
    finally:
        server.shutdown()
        server.server_close()
    gauges.write(tmp_path / "deep" / "features.prom")
    written = samples((tmp_path / "deep" / "features.prom").read_text())
    assert written == scraped
    state = {v.name: v for v in report.views}["user_counters"]
    name = ("user_counters", "views")
    drift = next(f.drift for f in state.features if f.name == "views")
    assert scraped["millrace_feature_psi", *name] == drift.psi
    assert scraped["millrace_feature_js", *name] == drift.js
    assert scraped["millrace_feature_null_ratio", *name] == 0
    offline = ("millrace_feature_freshness_seconds", "user_counters", "offline")
    assert scraped[offline] == state.freshness.offline_s
    assert scraped["millrace_feature_freshness_slo_seconds", "user_counters", ""] == 172800
    assert scraped["millrace_feature_quarantined_rows", "user_counters", ""] == 0
    assert scraped["millrace_feature_quiet", "user_history", "length"] == 1


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        content: Any = answer.read().decode()
        return str(content)
