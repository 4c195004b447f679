"""The definition of a feature view: what Feast keeps, and what it does not ask for.

Feast knows a view's entity, schema and source table. How the table comes to be, how often, how
fresh and how clean it must be, how long it is kept, and which version of it this is, stand here.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from feature_repo.store import feast

TIME = "event_timestamp"  # from when a row's values were true
CREATED = "created_timestamp"  # when the row was computed
DAY = "day"  # the day of source data that a computed row belongs to: its partition


@dataclass(frozen=True)
class Feature:
    """One column of a view.

    Args:
        dtype: a Feast type.
        lowest, highest: values outside are rejected on write; None leaves that side open.
        nullable: whether a row may lack it.
        allowed: the only values accepted, or None.
    """

    name: str
    dtype: Any
    description: str
    lowest: float | None = None
    highest: float | None = None
    nullable: bool = False
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True)
class View:
    """A feature view, whole.

    Args:
        entity: Feast's entity; its join key is the view's key column.
        transformation: Ibis tables of `sources`, by name, `dates`, and the `settings` → an Ibis
            table with the key, the features, `event_timestamp` and `day`.
        sources: raw tables that it reads; with several, the view needs all of them.
        lookback: days before a day that its rows depend on.
        chained: rows also depend on the view's own earlier rows, given as `previous`; a day that
            is computed again makes all later days stale.
        partitioned: one file a day; False computes the whole table each time, as one file.
        settings: names of materialization settings passed to the transformation.
        frequency: how often it is computed.
        freshness: the age of the newest row that the team promises to stay below (the SLO).
        ttl: an older value is null, offline and online; zero: values do not age.
        retention: offline rows older than this may be deleted; None keeps them.
        rules: comparisons between columns that every row keeps, such as `views_1d <= views_7d`;
            see `feature_repo/quality/comparisons.py`.
        pushed: events update it between computations, through the push source `<name>_push`.
        version: raised by hand for a breaking change (type, key, removed feature). Version 1 is
            called `name`, later ones `name_v2`, …, so that both can be served side by side.
    """

    name: str
    entity: Any
    features: tuple[Feature, ...]
    transformation: Callable[..., Any]
    sources: tuple[str, ...]
    description: str
    owner: str = "millrace"
    lookback: int = 0
    chained: bool = False
    partitioned: bool = True
    settings: tuple[str, ...] = ()
    frequency: timedelta = timedelta(days=1)
    freshness: timedelta = timedelta(days=2)
    ttl: timedelta = timedelta(0)
    retention: timedelta | None = None
    rules: tuple[str, ...] = ()
    pushed: bool = False
    version: int = 1
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """The name in Feast, in paths and in requests."""
        return self.name if self.version == 1 else f"{self.name}_v{self.version}"

    @property
    def key(self) -> str:
        """The key column."""
        return str(self.entity.join_key)

    @property
    def code_path(self) -> str:
        """The transformation's file, from the project's root."""
        module: str = self.transformation.__module__
        return module.replace(".", "/") + ".py"

    def code(self) -> str:
        """The source of the transformation and of the project's modules that it uses."""
        return "\n".join(inspect.getsource(m) for m in _modules(self.transformation))

    def code_hash(self) -> str:
        """Of what `code` does: another hash means that the same input may give other values.

        Comments, docstrings and layout do not count: mending a word must not compute years again.
        """
        return hashlib.sha256(ast.dump(_bare(self.code())).encode()).hexdigest()[:16]

    def folder(self, store: Path) -> Path:
        """The view's offline table below the store's folder: `day=YYYY-MM-DD/*.parquet`."""
        return store / "offline" / self.full_name

    def as_feast(self, store: Path) -> Any:
        """The Feast view that reads the offline table below the store's folder."""
        module = feast()
        source = module.FileSource(
            name=f"{self.full_name}_table",
            path=str(self.folder(store)),
            timestamp_field=TIME,
            created_timestamp_column=CREATED,
        )
        if self.pushed:
            source = module.PushSource(name=f"{self.full_name}_push", batch_source=source)
        return module.FeatureView(
            name=self.full_name,
            entities=[self.entity],
            ttl=self.ttl,
            schema=[
                module.Field(name=self.key, dtype=_feast_type(self.entity)),
                *(
                    module.Field(name=f.name, dtype=f.dtype, description=f.description)
                    for f in self.features
                ),
            ],
            source=source,
            online=True,
            description=self.description,
            owner=self.owner,
            tags=self.tags,
        )


def _feast_type(entity: Any) -> Any:
    types: Any = __import__("feast.types", fromlist=["from_value_type"])
    return types.from_value_type(entity.value_type)


def _bare(code: str) -> ast.Module:
    """The syntax tree without docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            node.body = [n for n in node.body if not _is_text(n)]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _modules(function: Callable[..., Any]) -> list[Any]:
    """The module of a transformation, then those of this package's transformations it imports."""
    first = inspect.getmodule(function)
    assert first is not None, f"{function} has no module"
    package = first.__name__.rsplit(".", 1)[0]
    found = [first]
    for value in vars(first).values():
        module = inspect.getmodule(value)
        if module and module not in found and module.__name__.startswith(f"{package}."):
            found.append(module)
    return found
