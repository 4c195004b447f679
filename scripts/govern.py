"""Keep features no longer than agreed, and erase users.

`python scripts/govern.py retention` (`dry_run=true` only tells), or
`python scripts/govern.py erase user=… why=… by=…`.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from feature_repo.governance.errors import GovernanceError, UnfinishedError
from scripts.entrypoint import entrypoint
from scripts.feature_tables import console


def retention(cfg: DictConfig, output: Path) -> None:
    """Delete what is older than its view's retention."""
    deleted = instantiate(cfg.retention)(_moment(cfg.as_of), bool(cfg.dry_run))
    _write(
        output / "retention.json",
        {"dry_run": bool(cfg.dry_run), "places": [asdict(d) for d in deleted]},
    )
    title = "Retention: what would go" if cfg.dry_run else "Retention: what went"
    table = Table(title=title, title_justify="left")
    for column in ("place", "days before", "rows", "bytes", "files", "carried over", "online"):
        left = column in ("place", "days before")
        table.add_column(column, justify="left" if left else "right", no_wrap=column == "place")
    for d in deleted:
        numbers = (d.rows, d.bytes, d.files, d.carried, d.online)
        table.add_row(d.place, str(d.before), *(f"{n:,}" for n in numbers))
    console.print(table)


def erase(cfg: DictConfig, output: Path) -> None:
    """Erase one user everywhere."""
    if isinstance(cfg.user, (float, bool)):  # 1e5 is a number to Hydra
        raise GovernanceError(f"user={cfg.user}: quote this id as user='\"…\"'")
    given = {n: "" if cfg[n] is None else str(cfg[n]) for n in ("user", "why", "by")}
    report = instantiate(cfg.erasure)(**given)
    content = {**asdict(report), "complete": report.complete, "memory_s": cfg.memory_s}
    _write(output / "erasure.json", content)
    table = Table(title=f"Erasure {report.subject_hash[:12]}…", title_justify="left")
    for column in ("place", "rows found", "removed", "files rewritten", "found afterwards"):
        left = column == "place"
        table.add_column(column, justify="left" if left else "right", no_wrap=left)
    for name, p in report.places.items():
        table.add_row(name, *(f"{n:,}" for n in (p.found, p.removed, p.files, p.left)))
    console.print(table)
    for folder in report.stale:
        console.print(
            f"saved training set, no longer as its manifest says: {folder}", soft_wrap=True
        )
    for column, rows in report.mentions.items():
        console.print(f"{column} names the user in {rows} rows, which stay")
    console.print(
        f"Running gateways may answer from memory for {cfg.memory_s} s more. The next "
        "`scripts/materialize.py` computes the days again that raw tables lost rows of."
    )
    if not report.complete:
        raise UnfinishedError(
            "not everything is erased: "
            + "; ".join([*report.unfinished, *_left(report.places)])
            + ". Repair this and run the same command again"
        )


COMMANDS: dict[str, Callable[[DictConfig, Path], None]] = {"retention": retention, "erase": erase}


@entrypoint("govern", dict.fromkeys(COMMANDS, ()))
def main(cfg: DictConfig) -> None:
    """Run one command; its report lands in output_dir."""
    command = str(OmegaConf.select(cfg, "command", throw_on_missing=False) or "")
    if command not in COMMANDS:
        raise GovernanceError(f"command={command}: there are {', '.join(COMMANDS)}")
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    kept = OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k != "user"])
    OmegaConf.save(kept, output / "config.yaml", resolve=True)
    COMMANDS[command](cfg, output)


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise GovernanceError(f"as_of={text} is no time; give YYYY-MM-DD or an ISO time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _left(places: dict[str, object]) -> list[str]:
    return [f"{name} still has rows" for name, p in places.items() if getattr(p, "left", 0)]


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
