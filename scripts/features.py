"""The feature registry on the command line: `python scripts/features.py describe user_statistics`.

list · search text=… · describe view=… · lineage [view=…] · history [view=…] ·
diff view=… from=1 to=2 · restore view=… revision=… why=… · apply why=… ·
remove view=… why=… · snapshot entities=… service=… output=… · verify snapshot=…
"""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from feature_repo.registry import apply as registry
from feature_repo.registry import catalog, lineage
from feature_repo.registry.author import Author, author
from feature_repo.registry.declaration import declared
from feature_repo.registry.drawing import draw
from feature_repo.registry.versions import Revision
from feature_repo.snapshot_query import Query
from feature_repo.snapshots import SnapshotError, Verification, take, verify
from feature_repo.store import StoreError, open_store
from feature_repo.view import View
from feature_repo.views import VIEWS
from models.artifact import SIGNATURE, Signature
from scripts import feature_tables as show
from scripts.commands import CommandError
from scripts.entrypoint import entrypoint

log = logging.getLogger(__name__)


def list_(cfg: DictConfig) -> None:
    found = catalog.entries(_folder(cfg), declared())
    if cfg.format == "json":
        return show.as_json(found)
    columns = ["name", "kind", "version", "revision", "state", "key", "owner", "description"]
    show.rows(f"features in {_folder(cfg)}", found, columns)


def search(cfg: DictConfig) -> None:
    found = catalog.search(_folder(cfg), declared(), _needed(cfg, "text"))
    if cfg.format == "json":
        return show.as_json(found)
    show.rows(f"{len(found)} found", found, ["name", "kind", "owner", "state", "description"])


def describe(cfg: DictConfig) -> None:
    found = catalog.describe(_folder(cfg), declared(), _needed(cfg, "view"), cfg.feature)
    show.as_json(found) if cfg.format == "json" else show.described(found)


def draw_lineage(cfg: DictConfig) -> None:
    graph = lineage.lineage(_folder(cfg), _models(Path(cfg.paths.artifacts)), cfg.view)
    picture = Path(cfg.output or Path(cfg.output_dir) / "lineage.png")
    draw(graph, picture)
    if cfg.format == "json":
        return show.as_json({**lineage.as_json(graph), "picture": picture})
    print(lineage.as_text(graph))
    print(f"picture: {picture}")


def history(cfg: DictConfig) -> None:
    found = catalog.history(_folder(cfg), cfg.view)
    if cfg.format == "json":
        return show.as_json(found)
    columns = ["name", "revision", "action", "state", "at", "by", "why", "changes"]
    lines = [
        {"name": r.full_name, "revision": r.revision, "action": r.action, "state": r.state,
         "at": r.created_at, "by": r.changed_by, "why": r.why, "changes": r.changes}
        for r in found
    ]  # fmt: skip
    show.rows("history", lines, columns)


def diff(cfg: DictConfig) -> None:
    first, last = _number(cfg, "from"), _number(cfg, "to")
    found = catalog.diff(_folder(cfg), _needed(cfg, "view"), first, last)
    if cfg.format == "json":
        return show.as_json(found)
    title = f"{found['name']}, revision {first} → {last}"
    print(f"{title}\n  from {show.change(found['from'])}\n  to   {show.change(found['to'])}")
    for change in found["changes"]:
        print(f"  {'breaking: ' if change['breaking'] else ''}{change['text']}")
    print("\n".join(found["code"]) or "  the code is the same")


def restore(cfg: DictConfig) -> None:
    folder, view = _folder(cfg), _needed(cfg, "view")
    revision = _number(cfg, "revision")
    new = registry.restore(
        open_store(folder), folder, view, revision, _who(cfg, required=True), _terms(cfg)
    )
    _report(cfg, [new], f"restored from revision {revision}")
    here = {d.full_name: d for d in declared()}.get(view)
    if here is not None and here.content.get("code_hash") != new.code_hash:
        log.warning(
            "the working tree's code of %s is %s, revision %d was made with %s: values computed "
            "from now on are those of the working tree",
            view, here.content.get("code_hash"), revision, new.code_hash,
        )  # fmt: skip
    if here is None or here.digest() != new.digest:
        log.warning(
            "the code declares %s otherwise: the next apply or materialization brings that back "
            "unless the code is changed too",
            view,
        )


def apply(cfg: DictConfig) -> None:
    materialization = instantiate(cfg.features)
    store, _ = materialization.open()
    done = materialization.register(store, _views(cfg), _who(cfg, required=True))
    if cfg.format == "json":
        return show.as_json(done)
    _report(cfg, done.recorded, "applied")
    for title, names in (("older versions, still served", done.older),
                         ("no longer in the code, still served", done.vanished)):  # fmt: skip
        if names:
            print(f"{title}: {', '.join(names)}")


def remove(cfg: DictConfig) -> None:
    folder, view = _folder(cfg), _needed(cfg, "view")
    who = _who(cfg, required=True)
    new = registry.remove(open_store(folder), folder, view, who, _terms(cfg))
    _report(cfg, [new], "removed from Feast; its history and offline rows stay")
    if view in {d.full_name for d in declared()}:
        log.warning("the code still has %s: the next apply or materialization adds it", view)


def snapshot(cfg: DictConfig) -> None:
    folder, output = _folder(cfg), Path(_needed(cfg, "output"))
    query = Query.of(
        folder,
        service=cfg.service,
        refs=list(cfg.feature_refs or ()),
        full_names=cfg.full_names,
        known_only=cfg.known_only,
    )
    entities = Path(_needed(cfg, "entities"))
    name = cfg.name or output.name
    made = take(open_store(folder), folder, name, entities, output, query, _who(cfg))
    if cfg.format == "json":
        return show.as_json(made)
    size = f"{made['rows']} rows, {len(made['columns'])} columns"
    print(f"{output}: {size}, content {made['content'][:16]}, from {len(made['views'])} views")


def check(cfg: DictConfig) -> None:
    folder = _folder(cfg)
    found = verify(open_store(folder), folder, Path(_needed(cfg, "snapshot")), cfg.rebuild)
    if cfg.format == "json":
        show.as_json(found)
    else:
        _tell(found)
    wrong = [*found.damage, *(found.differences or ())]
    if wrong:
        raise SnapshotError(f"{found.folder}: " + "; ".join(wrong))


COMMANDS: dict[str, tuple[Callable[[DictConfig], None], tuple[str, ...]]] = {
    "list": (list_, ()),
    "search": (search, ("text",)),
    "describe": (describe, ("view",)),
    "lineage": (draw_lineage, ("view",)),
    "history": (history, ("view",)),
    "diff": (diff, ("view",)),
    "restore": (restore, ("view",)),
    "apply": (apply, ()),
    "remove": (remove, ("view",)),
    "snapshot": (snapshot, ("name",)),
    "verify": (check, ("snapshot",)),
}


@entrypoint("features_cli", {name: words for name, (_, words) in COMMANDS.items()})
def main(cfg: DictConfig) -> None:
    """Run one command."""
    if cfg.command not in COMMANDS:
        raise CommandError(f"no command {cfg.command!r}; there are: {', '.join(COMMANDS)}")
    if cfg.format not in ("table", "json"):
        raise CommandError(f"format={cfg.format}: it is table or json")
    COMMANDS[cfg.command][0](cfg)


def _folder(cfg: DictConfig) -> Path:
    return Path(cfg.paths.features).resolve()


def _needed(cfg: DictConfig, key: str) -> str:
    if cfg[key] is None:
        raise CommandError(f"{cfg.command} needs {key}=…")
    return str(cfg[key])


def _number(cfg: DictConfig, key: str) -> int:
    text = _needed(cfg, key)
    if not re.fullmatch(r"[1-9]\d{0,17}", text):
        raise CommandError(f"{key}={text}: revisions are whole numbers, as `history` shows them")
    return int(text)


def _who(cfg: DictConfig, required: bool = False) -> Author:
    """Raises `CommandError` where a change has no reason."""
    if required and not cfg.why:
        raise CommandError(f"{cfg.command} needs why=…: the history keeps the reason")
    return author(cfg.by, cfg.why)


def _terms(cfg: DictConfig) -> Any:
    return instantiate(cfg.features.lease)


def _views(cfg: DictConfig) -> Sequence[View]:
    known = {v.full_name: v for v in VIEWS}
    for name in cfg.views or ():
        if name not in known:
            raise StoreError(registry.unknown("view", name, known))
    return [known[n] for n in cfg.views] if cfg.views else VIEWS


def _models(artifacts: Path) -> Iterator[lineage.Model]:
    """Every artifact that says which features it reads."""
    for file in sorted(artifacts.glob(f"[!.]*/[!.]*/{SIGNATURE}")):
        try:
            found = Signature.from_json(file.read_text(encoding="utf-8"))
        except (ValueError, TypeError, KeyError) as error:
            log.warning("%s is left out: not a signature (%s)", file, error)
            continue
        if found.feature_service:
            yield lineage.Model(found.name, found.version, found.feature_service, found.features)


def _report(cfg: DictConfig, revisions: Sequence[Revision], what: str) -> None:
    if cfg.format == "json":
        return show.as_json(revisions)
    for r in revisions:
        changes = f" ({'; '.join(r.changes)})" if r.changes else ""
        print(f"{r.full_name} version {r.version}, revision {r.revision}: {what}{changes}")
    if not revisions:
        print("nothing has changed")


def _tell(found: Verification) -> None:
    print("intact" if not found.damage else "NOT INTACT")
    for line in found.damage:
        print(f"  {line}")
    print("can be rebuilt" if not found.obstacles else "a rebuild may give other rows:")
    for line in found.obstacles:
        print(f"  {line}")
    if found.differences is not None:
        print("rebuilt: the same rows" if not found.differences else "rebuilt: other rows")
    for line in found.differences or ():
        print(f"  {line}")


if __name__ == "__main__":
    main()
