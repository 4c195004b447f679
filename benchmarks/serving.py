"""`/recommend` beside its peers and its limit: `python benchmarks/serving.py path=data/features`.

The same ONNX file on the same machine in the same run: through the whole of `/recommend`, which
reads features from Feast, asks the model behind TorchServe and further sources, filters, and gives
reasons; alone in a process (the limit); behind LitServe, BentoML and FastAPI, which get their
histories ready to run and answer the model's list alone. At 1, 8 and 32 connections: requests/s,
p50, p99; the gateway's CPU time for an answer, which other load on the machine cannot stretch; and
where the milliseconds go. A ranking model is not served here; see two_stage.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # `serving` is the room, not this file

from omegaconf import DictConfig, OmegaConf
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from benchmarks.child import PEERS, ROOT, measure, peers_python
from benchmarks.two_stage import gateway_cpu
from feature_repo.computation import view_files
from feature_repo.publication import newest_rows
from feature_repo.views import USER_HISTORY
from models import artifact
from models.champion import champion
from models.report import Report, conditions
from scripts.entrypoint import CONFIGS, entrypoint
from serving.stack import answers, services
from serving.supervisor import Service, ServiceError, Supervisor, require_free
from serving.torchserve.tokens import TokenFile

HOST = "127.0.0.1"
KEPT = 200  # users whose lists are kept
console = Console(width=None if sys.stdout.isatty() else 140)  # a log has no width

Rows = dict[str, dict[str, Any]]  # connections → what the load saw


class Workload:
    """The users' histories, as ids for us and as graph codes for the peers."""

    def __init__(self, cfg: DictConfig, loaded: artifact.Artifact, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        code = {item: n + 1 for n, item in enumerate(loaded.read_asset("items.json"))}
        longest = loaded.signature.limits["history"]
        files = [file for _, file in view_files(USER_HISTORY, Path(cfg.path))]
        rows = newest_rows(USER_HISTORY, files).select("user_id", "item_ids").collect()
        self.users: list[str] = []
        self.ids: list[list[str]] = []
        self.codes: list[list[int]] = []
        for user, ids in rows.sort("user_id").iter_rows():
            known = [i for i in ids if i in code]
            if known and len(self.users) < cfg.users:
                self.users.append(user)
                self.ids.append(list(ids))  # whole: what the model does not read is seen too
                self.codes.append([code[i] for i in known[-longest:]])
        self.histories = self.write("histories.json", json.dumps(self.codes))
        self.mean_length = sum(map(len, self.codes)) / len(self.codes)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def recommend(self, users: int) -> Path:
        lines = [
            {"method": "GET", "path": f"/recommend?user_id={u}&n=10"} for u in self.users[:users]
        ]
        return self.write(f"recommend-{users}.jsonl", "\n".join(map(json.dumps, lines)))

    def post(self, name: str, path: str, bodies: list[Any], token: str | None = None) -> Path:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        lines = [{"method": "POST", "path": path, "headers": headers, "body": b} for b in bodies]
        return self.write(f"{name}.jsonl", "\n".join(map(json.dumps, lines)))


def load(cfg: DictConfig, requests: Path, port: int, connections: int, expect: str) -> Any:
    row = asked_for(cfg.seconds, requests, port, connections, expect)
    if row["unexpected"] or row["lost_connections"]:
        console.print(f"[red]{row['unexpected']} answers were not as expected: {row}[/red]")
    return row


def asked_for(seconds: float, requests: Path, port: int, connections: int, expect: str) -> Any:
    return measure(
        [
            sys.executable, "benchmarks/load.py", "--requests", str(requests), "--host", HOST,
            "--port", str(port), "--connections", str(connections),
            "--seconds", str(seconds), "--expect", expect,
        ]
    )  # fmt: skip


def fill(requests: Path, port: int, users: int) -> None:
    """Ask until each user's list is kept: one that a stage was left out of, as happens while the
    servers are cold, is not.

    Raises:
        ServiceError: some are still not kept after a minute and a half.
    """
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        row = asked_for(3, requests, port, 8, '"source":"cache"')
        if row["requests"] >= users and not row["unexpected"]:
            return
    raise ServiceError(f"of {row['requests']} answers {row['unexpected']} are not from the cache")


def millrace(
    cfg: DictConfig, work: Workload
) -> tuple[dict[str, Rows], dict[str, dict[str, float]]]:
    """Uncached, TorchServe alone, cached; and the gateway's own stage times while uncached."""
    found: dict[str, Rows] = {"millrace, uncached": {}, "TorchServe alone, our handler": {}}
    stages: dict[str, dict[str, float]] = {}
    uncached = cfg.copy()
    uncached.gateway.cache = OmegaConf.load(CONFIGS / "gateway" / "cache" / "none.yaml")
    gateway, torchserve = cfg.gateway.port, cfg.torchserve.ports.inference
    with Supervisor(services(uncached), cfg.startup_timeout_s):
        asked = work.recommend(len(work.users))
        asked_for(cfg.warmup, asked, gateway, 8, "")
        for n in cfg.connections:
            row, stages[str(n)] = watched(cfg, asked, gateway, n, '"source":"model"')
            found["millrace, uncached"][str(n)] = row
        key = TokenFile(Path(uncached.gateway.torchserve.key_file)).inference_key()
        signature = artifact.load(Path(cfg.models.recommender.artifact)).signature
        k = min(cfg.gateway.recommendations.candidates.sequential.k, signature.limits["k"])
        bodies = [{"instances": [{"history": ids, "k": k}]} for ids in work.ids]
        asked = work.post("torchserve", f"/predictions/{signature.name}", bodies, key)
        for n in cfg.connections:
            row = load(cfg, asked, torchserve, n, '"predictions"')
            found["TorchServe alone, our handler"][str(n)] = row
    cached = {}
    kept = cfg.copy()
    kept.gateway.cache.ttl_s = 3600  # nothing is to run out while it is measured
    with Supervisor(services(kept), cfg.startup_timeout_s):
        asked = work.recommend(KEPT)
        fill(asked, gateway, KEPT)
        for n in cfg.connections:
            cached[str(n)], _ = watched(cfg, asked, gateway, n, '"source":"cache"')
    return {"millrace, cached": cached, **found}, stages


def watched(
    cfg: DictConfig, requests: Path, port: int, connections: int, expect: str
) -> tuple[Any, dict[str, float]]:
    """A load of the gateway, with `cpu_ms` of its process for an answer; and its stages' means."""
    before, used = stage_sums(port), gateway_cpu()
    row = load(cfg, requests, port, connections, expect)
    used, after = gateway_cpu() - used, stage_sums(port)
    row["cpu_ms"] = 1000 * used / max(after["stages"][1] - before["stages"][1], 1)
    return row, stage_means(before, after)


def stage_sums(port: int) -> dict[str, tuple[float, float]]:
    """stage → (seconds, count) so far, from the gateway's /metrics.

    `features` and `inference` are calls of the store and of TorchServe, which several answers may
    share; `stages` is what an answer spends in stages that wait for neither, one after the other,
    and its count is of answers.
    """
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as answer:
        text = answer.read().decode()
    sums = {"features": [0.0, 0.0], "inference": [0.0, 0.0], "stages": [0.0, 0.0]}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            stage = sample.labels.get("stage", "")
            place = {"sum": 0, "count": 1}.get(sample.name.rsplit("_", 1)[-1])
            if place is None:
                continue
            if family.name == "millrace_gateway_stage_seconds" and stage in sums:
                sums[stage][place] = sample.value
            elif family.name == "millrace_gateway_recommendation_stage_seconds":
                # Sources work beside one another, most of them while the model is waited for.
                if place == 0 and stage.partition(".")[0] not in ("features", "candidates"):
                    sums["stages"][0] += sample.value
                elif place == 1 and stage == "reasons":  # once an answer
                    sums["stages"][1] = sample.value
    return {k: (v[0], v[1]) for k, v in sums.items()}


def stage_means(
    before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """stage → milliseconds each time, between two looks at the sums."""
    return {
        stage: 1000 * (seconds - before[stage][0]) / max(count - before[stage][1], 1)
        for stage, (seconds, count) in after.items()
    }


def await_free(port: int, name: str, seconds: float = 10.0) -> None:
    """Wait until the last peer's children have let go of the port."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return require_free(HOST, port, name)
        except ServiceError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


@contextmanager
def peer(
    cfg: DictConfig, name: str, command: list[str], environment: dict[str, str]
) -> Iterator[None]:
    """Run a peer's server until the block ends."""
    await_free(cfg.port, name)
    path = f"{PEERS.parent}:{os.environ['PATH']}"
    service = Service(
        name=name,
        command=command,
        folder=ROOT / "benchmarks" / "peers",
        ready=lambda: (
            answers(f"http://{HOST}:{cfg.port}/docs") or answers(f"http://{HOST}:{cfg.port}/readyz")
        ),
        log_file=Path(cfg.output_dir) / f"{name}.log",
        environment={"PATH": path, "BENTOML_DO_NOT_TRACK": "1", **environment},
    )
    with Supervisor([service], startup_timeout=120):
        yield


def peers(cfg: DictConfig, work: Workload, model: Path) -> dict[str, Rows]:
    """LitServe and BentoML with and without batching, FastAPI with the session inside."""
    python, port = peers_python(), str(cfg.port)
    single = work.post("peers", "/predict", [{"history": c} for c in work.codes])
    ranked = work.post("fastapi", "/rank", [{"history": c} for c in work.codes])
    listed = work.post("bentoml", "/rank", [{"histories": [c]} for c in work.codes])
    found: dict[str, Rows] = {}
    for batch in (1, cfg.batch):
        suffix = f"batch {batch}"
        command = [python, "litserve_server.py", str(model), port, str(batch)]
        with peer(cfg, f"litserve-{batch}", command, {}):
            found[f"LitServe, {suffix}"] = {
                str(n): load(cfg, single, cfg.port, n, '"items"') for n in cfg.connections
            }
        command = [
            str(PEERS.with_name("bentoml")), "serve", "bentoml_service:Ranker",
            "--host", HOST, "--port", port,
        ]  # fmt: skip
        environment = {"MODEL": str(model), "MAX_BATCH": str(batch)}
        with peer(cfg, f"bentoml-{batch}", command, environment):
            found[f"BentoML, {suffix}"] = {
                str(n): load(cfg, listed, cfg.port, n, '"items"') for n in cfg.connections
            }
    with peer(cfg, "fastapi", [python, "fastapi_server.py", str(model), port], {}):
        found["FastAPI, session inside"] = {
            str(n): load(cfg, ranked, cfg.port, n, '"items"') for n in cfg.connections
        }
    return found


def breakdown(
    limit: dict[str, float], rows: dict[str, Rows], stages: dict[str, dict[str, float]]
) -> dict[str, float]:
    """Milliseconds of one lone request, from the session outward."""
    ours = rows["millrace, uncached"]["1"]["p50_ms"]
    direct = rows["TorchServe alone, our handler"]["1"]["p50_ms"]
    features, inference, own = (stages["1"][s] for s in ("features", "inference", "stages"))
    return {
        "ONNX Runtime": limit["p50_ms"],
        "TorchServe and handler": direct - limit["p50_ms"],
        "gateway's call of TorchServe": inference - direct,
        "Feast read": features,
        "filters, diversity, reasons": own,
        "gateway: HTTP, queues, blend, answer": ours - features - inference - own,
    }


def table(title: str, rows: dict[str, Rows], connections: list[int]) -> Table:
    made = Table(title=title)
    made.add_column("")
    for n in connections:
        made.add_column(f"{n}: requests/s", justify="right")
        made.add_column("p50 ms", justify="right")
        made.add_column("p99 ms", justify="right")
    for name, row in rows.items():
        cells = []
        for n in connections:
            seen = row[str(n)]
            cells += [f"{seen['requests_per_s']:,.0f}", f"{seen['p50_ms']:.1f}"]
            cells.append(f"{seen['p99_ms']:.1f}")
        made.add_row(name, *cells)
    return made


@entrypoint("benchmark/serving")
def main(cfg: DictConfig) -> None:
    """Measure the limit, ourselves and the peers; print, draw and write the results."""
    output = Path(cfg.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=False)
    own = cfg.models.recommender
    chosen = Path(own.artifact or champion(Path(cfg.paths.artifacts), own.name)).resolve()
    own.artifact, cfg.gateway.features = str(chosen), str(Path(cfg.path).resolve())
    for other in ("anomaly", "sentiment", "retrieval", "ranker"):
        cfg.models[other].serve = False
    loaded = artifact.load(chosen)
    work = Workload(cfg, loaded, output / "requests")
    shutil.copy(loaded.model, output / "model.onnx")
    model = output / "model.onnx"
    limits = {
        f"in process, batch {b}": measure(
            [sys.executable, "benchmarks/in_process.py", str(model), str(work.histories), str(b),
             str(cfg.seconds)]
        )
        for b in (1, cfg.batch)
    }  # fmt: skip
    for name, row in limits.items():
        console.print(
            f"{name}: {row['requests_per_s']:,.0f} histories/s, p50 {row['p50_ms']:.2f} ms"
        )
    ours, stages = millrace(cfg, work)
    others = peers(cfg, work, model)
    connections = list(cfg.connections)
    rows = {**ours, **others}
    title = f"{len(work.users)} users, {work.mean_length:.0f} items a history"
    console.print(table(title, rows, connections))
    parts = breakdown(limits["in process, batch 1"], rows, stages)
    for name in ("millrace, cached", "millrace, uncached"):
        spent = ", ".join(f"{rows[name][str(n)]['cpu_ms']:.2f} ({n})" for n in connections)
        console.print(f"{name}: CPU ms of the gateway for an answer: {spent}")
    for name, milliseconds in parts.items():
        console.print(f"{name:38} {milliseconds:6.2f} ms")
    Report(
        model={
            f"{kind} {metric} ({n})": row[str(n)][metric]
            for kind, row in ours.items()
            for n in connections
            for metric in ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms")
            if metric in row[str(n)]
        }
        | {f"one request, {k} ms": v for k, v in parts.items()},
        peers={**others, **limits},  # type: ignore[dict-item]
        data={"name": title, "artifact": loaded.signature.version},
        conditions=conditions(seconds=cfg.seconds, stages_ms=stages),
    ).write(output / "metrics.json")
    panels = {
        f"{n} connections": {k: r[str(n)]["requests_per_s"] for k, r in rows.items()}
        for n in connections
    }
    bars(panels, "requests/s", output / "serving.png")
    console.print(f"see {output}")


if __name__ == "__main__":
    main()
