"""What callers ask for: which features, of which keys, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.datastructures import QueryParams

from serving.features.catalog import ViewInfo
from serving.gateway.features.names import features_named, require_feature, unknown
from serving.gateway.problems import Problem


class ReadLimits(NamedTuple):
    """What the config allows in one request."""

    max_keys: int  # in a query string
    max_rows: int  # in a body
    max_values: int  # rows × features


class FeatureQuestion(NamedTuple):
    """Features of some rows."""

    names: list[str]  # "view:feature"
    keys: dict[str, list[Any]]  # column → one value a row
    rows: int


def parse_query(view: ViewInfo, query: QueryParams, limits: ReadLimits) -> FeatureQuestion:
    """GET /feature/{view}?<key>=…&<key>=…&features=a,b

    Raises:
        Problem: 404 for an unknown feature, 422 for the rest.
    """
    if view.code is not None:
        raise Problem(
            422,
            "invalid-query",
            f"view {view.name!r} is computed at the request from several keys",
            accepted="POST /v1/features with its keys and " + ", ".join(view.sent),
        )
    for name in query:
        if name not in (view.key, "features"):
            accepted = f"{view.key}=…, once or more, and features=…"
            raise Problem(422, "invalid-query", f"unknown parameter {name!r}", accepted=accepted)
    given = query.getlist(view.key)
    if not 1 <= len(given) <= limits.max_keys:
        found = f"{len(given)} of them" if given else "missing"
        raise Problem(
            422, "invalid-keys", f"{view.key} is {found}", accepted=f"1 to {limits.max_keys} keys"
        )
    keys = [_typed_key(view, text) for text in given]
    listed = [n for text in query.getlist("features") for n in text.split(",") if n]
    for name in listed:
        require_feature(view, name)
    names = [f"{view.name}:{n}" for n in dict.fromkeys(listed or view.features)]
    return FeatureQuestion(names, {view.key: keys}, len(keys))


def parse_body(
    body: Mapping[str, Any],
    views: Mapping[str, ViewInfo],
    services: Mapping[str, Sequence[str]],
    limits: ReadLimits,
) -> FeatureQuestion:
    """The body of POST /v1/features, and of Feast's /get-online-features.

    Raises:
        Problem: 404 for unknown names, 422 for the rest.
    """
    names = _names(body, views, services)
    keys = _columns(body.get("entities"))
    rows = len(next(iter(keys.values())))
    if not 1 <= rows <= limits.max_rows:
        raise Problem(
            422, "invalid-entities", f"there are {rows} rows", accepted=f"1 to {limits.max_rows}"
        )
    if rows * len(names) > limits.max_values:
        raise Problem(
            422,
            "too-many-values",
            f"{rows} rows of {len(names)} features are {rows * len(names)} values",
            accepted=f"at most {limits.max_values} values",
        )
    return FeatureQuestion(names, keys, rows)


def _names(
    body: Mapping[str, Any], views: Mapping[str, ViewInfo], services: Mapping[str, Sequence[str]]
) -> list[str]:
    service, features = body.get("feature_service"), body.get("features") or None
    accepted = '{"features": ["view:feature", …]} or {"feature_service": "…"}, not both'
    if (service is None) == (features is None):
        found = "neither is given" if service is None else "both are given"
        raise Problem(422, "invalid-features", found, accepted=accepted)
    if features is not None:
        if not isinstance(features, list) or not all(isinstance(n, str) for n in features):
            raise Problem(
                422, "invalid-features", f"features is {features!r:.80}", accepted=accepted
            )
        return features_named(views, features)
    if not isinstance(service, str) or service not in services:
        raise unknown("feature service", str(service), services)
    return list(services[service])


def _columns(entities: Any) -> dict[str, list[Any]]:
    """Columns, from columns or from rows."""
    accepted = '{"user_id": ["u1", "u2"]} or [{"user_id": "u1"}, {"user_id": "u2"}]'
    if isinstance(entities, list) and entities and all(isinstance(r, dict) for r in entities):
        first = set(entities[0])
        for number, row in enumerate(entities):
            if set(row) != first:
                found = f"row {number} has {sorted(row)}, row 0 has {sorted(first)}"
                raise Problem(422, "invalid-entities", found, accepted="the same columns in each")
        entities = {name: [row[name] for row in entities] for name in entities[0]}
    if (
        not isinstance(entities, dict)
        or not entities
        or not all(isinstance(c, list) for c in entities.values())
    ):
        raise Problem(422, "invalid-entities", f"entities is {entities!r:.80}", accepted=accepted)
    lengths = {name: len(column) for name, column in entities.items()}
    if len(set(lengths.values())) > 1:
        raise Problem(
            422, "invalid-entities", f"columns of different lengths: {lengths}", accepted=accepted
        )
    return dict(entities)


def _typed_key(view: ViewInfo, text: str) -> Any:
    if view.key_type in ("INT32", "INT64"):
        try:
            return int(text)
        except ValueError as error:
            raise Problem(
                422, "invalid-keys", f"{view.key} is {text[:80]!r}", accepted="a whole number"
            ) from error
    if not text:
        raise Problem(422, "invalid-keys", f"{view.key} is empty", accepted="a non-empty string")
    return text
