"""What a row is made of: dense numbers, categories, and bags of several categories.

Limits: needs neither torch nor polars, so that serving can import it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["dense", "categorical", "multi_hot"]
KINDS = ("dense", "categorical", "multi_hot")
SIDES = ("user", "item", "pair")


class FieldError(ValueError):
    """Fields that do not make a row, or a value that a field cannot take."""

    exit_code = 65  # EX_DATAERR


@dataclass(frozen=True)
class Field:
    """One input of a ranker.

    Args:
        kind: dense (a number), categorical (one value), multi_hot (a list of values, may be empty).
        side: whose it is: the user's, the item's, or the pair's (it changes with both).
        feature: the feature store's `view:feature`; None: whoever asks sends it.
        log: dense: sign(x)·log(1 + |x|) before scaling, for amounts.
        vocabulary: categories, most frequent first, that get a row of their own; 0: all are hashed.
        min_count: a category seen less often in training gets no row of its own.
        buckets: rows for all other categories, by hash; at least 1.
        most: multi_hot: the last values of a list that are read.
        table: another field whose rows (and vocabulary) this one shares; None: its own.
    """

    name: str
    kind: Kind
    side: str = "item"
    feature: str | None = None
    log: bool = False
    vocabulary: int = 100_000
    min_count: int = 1
    buckets: int = 1
    most: int = 50
    table: str | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise FieldError(
                f"field {self.name!r}: a name has letters, digits and _ only: it names an input of "
                "the graph"
            )
        if self.kind not in KINDS:
            raise FieldError(f"field {self.name}: kind is {self.kind!r}; it is one of {KINDS}")
        if self.side not in SIDES:
            raise FieldError(f"field {self.name}: side is {self.side!r}; it is one of {SIDES}")
        for key, least in (("buckets", 1), ("vocabulary", 0), ("min_count", 1), ("most", 1)):
            if getattr(self, key) < least:
                raise FieldError(
                    f"field {self.name}: {key} is {getattr(self, key)}; at least {least}"
                )

    @property
    def owner(self) -> str:
        """The field whose table holds this one's rows."""
        return self.table or self.name


@dataclass(frozen=True)
class Fields:
    """All fields of a ranker; dense ones and categorical ones each keep the config's order."""

    all: tuple[Field, ...]

    @classmethod
    def of(cls, settings: Mapping[str, Mapping[str, Any] | None]) -> Fields:
        """From a config's mapping name → settings; a field of null is left out.

        Raises:
            FieldError: an unknown setting, kind or table, or no field at all.
        """
        known = set(Field.__dataclass_fields__) - {"name"}
        made = []
        for name, given in settings.items():
            if given is None:
                continue
            wrong = sorted(set(given) - known)
            if wrong:
                near = difflib.get_close_matches(wrong[0], known, n=1)
                hint = f" (is it {near[0]}?)" if near else ""
                raise FieldError(f"field {name}: no setting {wrong[0]!r}{hint}; {sorted(known)}")
            made.append(Field(name=str(name), **{str(k): v for k, v in given.items()}))
        fields = cls(tuple(made))
        owners = {f.name for f in fields.categorical if f.table is None}
        for field in fields.categorical:
            if field.owner not in owners:
                raise FieldError(
                    f"field {field.name}: table {field.table!r} is no categorical field with a "
                    f"table of its own; there are {sorted(owners)}"
                )
        if not made:
            raise FieldError("no fields; a ranker needs at least one")
        return fields

    @property
    def dense(self) -> tuple[Field, ...]:
        return tuple(f for f in self.all if f.kind == "dense")

    @property
    def categorical(self) -> tuple[Field, ...]:
        """Fields with ids: of one value and of several."""
        return tuple(f for f in self.all if f.kind != "dense")

    @property
    def tables(self) -> tuple[Field, ...]:
        """Fields that own a table."""
        return tuple(f for f in self.categorical if f.table is None)

    @property
    def bags(self) -> tuple[Field, ...]:
        """Categorical fields in the order of their tables, which is that of pooled vectors."""
        return tuple(f for owner in self.tables for f in self.sharing(owner))

    def sharing(self, owner: Field) -> tuple[Field, ...]:
        """The fields that look up in the table of `owner`."""
        return tuple(f for f in self.categorical if f.owner == owner.name)

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(f) for f in self.all]
