"""The whole loop on the simulated marketplace: `make demo`.

Simulate → read reviews → materialize → train a recommender and a ranker → serve → ask. Each step is
the script that a user would call; this one only says what happens, how long it takes and what came
out.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import polars as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from scripts.entrypoint import entrypoint
from serving.stack import services
from serving.supervisor import Supervisor, require_free

console = Console()


def step(
    cfg: DictConfig, number: int, title: str, script: str, *overrides: str, folder: str = ""
) -> Path:
    """Run one script with its output in a folder of its own; end the demo if it fails."""
    output = Path(cfg.output_dir) / (folder or script)
    command = [sys.executable, f"scripts/{script}.py", f"output_dir={output}", *overrides]
    console.rule(f"[bold]{number}. {title}")
    shown = " ".join([f"python scripts/{script}.py", *overrides])
    console.print(shown, style="dim", highlight=False)
    started = time.perf_counter()
    result = subprocess.run([*command, f"paths.root={cfg.paths.root}"], check=False)
    if result.returncode:
        sys.exit(result.returncode)
    seconds = time.perf_counter() - started
    console.print(f"[green]done in {seconds:.1f} s[/green], see {short(output)}", soft_wrap=True)
    return output


def short(path: Path) -> str:
    """The path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer to a GET, or to a POST of a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        content: dict[str, Any] = json.load(answer)
    return content


def show(url: str, titles: dict[str, str], body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One real answer, with titles beside ids, who made it, and why each item is in it."""
    answer = ask(url, body)
    verb = "GET" if body is None else "POST"
    came = f"  →  {answer['source']}" if "source" in answer else ""
    if answer.get("ranker"):
        came += f", ranked by {answer['ranker']['model']}"
    table = Table(title=f"{verb} {url.split('/', 3)[3]}{came}", title_justify="left")
    table.add_column("item")
    table.add_column("title")
    table.add_column("score", justify="right")
    table.add_column("why")
    for row in answer["items"]:
        why = ", ".join(reason["text"] for reason in row.get("reasons", []))
        title = titles.get(row["item_id"], "")
        table.add_row(row["item_id"], title, f"{row['score']:.2f}", why)
    console.print(table)
    if answer.get("reason"):
        console.print(f"reason: {answer['reason']}")
    for skipped in answer["skipped"]:
        console.print(f"without {skipped['stage']}: {skipped['reason']}")
    return answer


def show_sentiment(url: str, texts: list[str]) -> None:
    """What the model says of some texts."""
    answer = ask(url, {"texts": texts})
    table = Table(title=f"POST {url.split('/', 3)[3]}", title_justify="left")
    for name in ("text", "label", "probabilities"):
        table.add_column(name)
    for text, said in zip(texts, answer["answers"], strict=True):
        shares = ", ".join(f"{name} {p:.2f}" for name, p in said["probabilities"].items())
        table.add_row(text, said["label"], shares)
    console.print(table)


@entrypoint("demo")
def main(cfg: DictConfig) -> None:
    """Run all steps and print answers."""
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    require_free(cfg.gateway.host, cfg.gateway.port, "gateway")  # known before, not after, training
    for port in instantiate(cfg.torchserve.ports).all():
        require_free(cfg.torchserve.host, port, "torchserve")
    step(
        cfg,
        1,
        "A marketplace comes to life",
        "simulate",
        f"size={cfg.marketplace}",
        "overwrite=true",
    )
    read = step(
        cfg, 2, "A small model learns to read the reviews", "train",
        f"experiment={cfg.reading}", folder="train_sentiment",
    )  # fmt: skip
    cfg.models.sentiment.artifact = json.loads((read / "metrics.json").read_text())["artifact"]
    step(
        cfg, 3, "It says of every review how kind it is", "score_reviews",
        f"judge.artifact={cfg.models.sentiment.artifact}",
    )  # fmt: skip
    step(cfg, 4, "Features: offline and online, through Feast", "materialize")
    trained = step(
        cfg, 5, "A sequential recommender learns, and must beat its floors", "train",
        f"experiment={cfg.training}",
    )  # fmt: skip
    report = json.loads((trained / "metrics.json").read_text())
    cfg.models.recommender.artifact = report["artifact"]
    rows = output / "impressions" / "rows"
    step(
        cfg, 6, "What was shown, with features as of each showing", "impressions",
        f"output={rows}", "why=demo",
    )  # fmt: skip
    ranking = step(
        cfg, 7, "A ranker learns from it who takes what", "train",
        f"experiment={cfg.ranking}", f"data.path={rows}", folder="train_ranker",
    )  # fmt: skip
    ranked = json.loads((ranking / "metrics.json").read_text())
    cfg.models.ranker.artifact = ranked["artifact"]
    for other in ("anomaly", "retrieval"):  # of earlier runs
        cfg.models[other].serve = False

    console.rule("[bold]8. TorchServe and the gateway start")
    serving_started = time.perf_counter()
    with Supervisor(services(cfg), cfg.startup_timeout_s, cfg.backoff_s):
        console.print(f"[green]ready in {time.perf_counter() - serving_started:.1f} s[/green]")
        console.rule("[bold]9. Real answers")
        url = f"http://{cfg.gateway.host}:{cfg.gateway.port}"
        items = pl.read_parquet(Path(cfg.paths.warehouse) / "items" / "*.parquet")
        titles = dict(items.select("item_id", "title").iter_rows())
        users = ("u0000001", "u0000042", "somebody-new")
        answers = [show(f"{url}/recommend?user_id={user}&n=5", titles) for user in users]
        first = ask(f"{url}/recommend?user_id=u0000001&n=1")["items"][0]["item_id"]
        show(f"{url}/v1/recommend/basket", titles, {"items": [first], "n": 3})
        show(f"{url}/v1/trending?n=3", titles)
        show_sentiment(f"{url}/v1/sentiment", list(cfg.sentences))
    seconds = time.perf_counter() - started
    best = max(report["floors"].items(), key=lambda floor: floor[1]["ndcg@10"])
    model = report["model"]
    summary = {
        "seconds": round(seconds, 1),
        "model": model,
        "floors": report["floors"],
        "ranker": {"model": ranked["model"], "floors": ranked["floors"]},
        "answers": answers,
    }
    (output / "metrics.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    console.rule(f"[bold green]The loop ran in {seconds / 60:.1f} minutes")
    console.print(
        f"NDCG@10 {model['ndcg@10']:.3f}, the best floor ({best[0]}) {best[1]['ndcg@10']:.3f}. "
        f"The ranker's AUC {ranked['model']['auroc']:.3f}. "
        f"Everything lies in {short(output)}; `make serve` serves these models again.",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
