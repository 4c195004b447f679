"""Which version of a model is in force: `python scripts/champion.py show name=anomaly`.

show · promote version=… why=… · rollback why=…
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from feature_repo.registry.author import author
from models import champion
from models.champion import ChampionError
from scripts.commands import CommandError
from scripts.entrypoint import entrypoint

console = Console(soft_wrap=True)


def show(cfg: DictConfig) -> None:
    root, name = Path(cfg.paths.artifacts), str(cfg.name)
    console.print(f"in force: {champion.champion(root, name)}")
    changes = champion.history(root, name)
    if not changes:
        console.print("nobody has promoted a version: the newest is in force")
        return
    table = Table(title=f"{name}: what was in force", title_justify="left")
    for column in ("since (UTC)", "version", "action", "who", "why"):
        table.add_column(column)
    for c in changes:
        table.add_row(c.since[:19], c.version, c.action, c.who, c.why)
    console.print(table)


def promote(cfg: DictConfig) -> None:
    if cfg.version is None:
        known = champion.versions(Path(cfg.paths.artifacts), str(cfg.name))
        raise ChampionError(f"promote needs version=…; there are {known}")
    by, why = author(cfg.who, cfg.why, otherwise="promoted by hand")
    root, name = Path(cfg.paths.artifacts), str(cfg.name)
    console.print(f"in force: {champion.promote(root, name, str(cfg.version), why, by)}")


def rollback(cfg: DictConfig) -> None:
    by, why = author(cfg.who, cfg.why, otherwise="rolled back by hand")
    root, name = Path(cfg.paths.artifacts), str(cfg.name)
    console.print(f"in force: {champion.rollback(root, name, why, by)}")


COMMANDS: dict[str, tuple[Callable[[DictConfig], None], Sequence[str]]] = {
    "show": (show, ("name",)),
    "promote": (promote, ("name", "version")),
    "rollback": (rollback, ("name",)),
}


@entrypoint("champion", {name: words for name, (_, words) in COMMANDS.items()})
def main(cfg: DictConfig) -> None:
    """Run one command."""
    command = str(OmegaConf.select(cfg, "command", throw_on_missing=False) or "")
    if command not in COMMANDS:
        raise CommandError(f"command={command}: there are {', '.join(COMMANDS)}")
    COMMANDS[command][0](cfg)


if __name__ == "__main__":
    main()
