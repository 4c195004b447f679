"""Where values come from: raw table → transformation → view → service → model artifact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx

from feature_repo.metadata import connect
from feature_repo.registry import versions
from feature_repo.registry.apply import unknown
from feature_repo.registry.definition import ON_DEMAND, SERVICE
from feature_repo.registry.versions import Revision
from feature_repo.store import StoreError

# From left to right.
LAYERS = ("table", "transformation", "view", "request-time view", "service", "model")


class Model(NamedTuple):
    """An artifact, as far as lineage goes.

    Args:
        features: of its signature: view → version and schema; empty where it does not say.
    """

    name: str
    version: str
    service: str
    features: Mapping[str, Mapping[str, Any]]


def lineage(folder: Path, models: Iterable[Model], name: str | None = None) -> Any:
    """The graph of everything registered; with `name`, what it comes from and what it goes to.

    Returns:
        A `networkx.DiGraph`; nodes have `layer`, `label` and `details`. An edge from a service to a
        model says in `broken` why the model could not be served on the service as it is.

    Raises:
        StoreError: no such node, with the nearest there are.
    """
    with connect(folder).connect() as connection:
        now = versions.current(connection)
    graph = nx.DiGraph()
    for revision in now.values():
        _add(graph, revision)
    for model in models:
        _add_model(graph, model, now)
    if name is None:
        return graph
    chosen = [n for n, d in graph.nodes(data=True) if name in (n, d["label"])]
    if not chosen:
        labels = {d["label"] for _, d in graph.nodes(data=True)}
        raise StoreError(unknown("table, view, service or model", name, labels))
    kept = set(chosen)
    for node in chosen:
        kept |= nx.ancestors(graph, node) | nx.descendants(graph, node)
    return graph.subgraph(kept).copy()


def as_text(graph: Any) -> str:
    """The graph as lines: each node of each layer, and what it is made from."""
    lines = []
    for layer in LAYERS:
        nodes = _of_layer(graph, layer)
        if nodes:
            lines.append(f"{layer}s")
        for node in nodes:
            data = graph.nodes[node]
            details = f"  ({data['details'].replace(chr(10), ', ')})" if data["details"] else ""
            made_of = [graph.nodes[n]["label"] for n in graph.predecessors(node)]
            arrow = f"  ← {', '.join(sorted(made_of))}" if made_of else ""
            lines.append(f"  {data['label']}{details}{arrow}")
            lines += [
                f"    ! {broken}"
                for n in graph.predecessors(node)
                if (broken := graph.edges[n, node].get("broken"))
            ]
    return "\n".join(lines)


def as_json(graph: Any) -> dict[str, list[dict[str, Any]]]:
    """Nodes and edges as plain data."""
    return {
        "nodes": [{"id": n, **data} for n, data in graph.nodes(data=True)],
        "edges": [{"from": a, "to": b, **data} for a, b, data in graph.edges(data=True)],
    }


def _of_layer(graph: Any, layer: str) -> list[str]:
    return sorted(n for n, data in graph.nodes(data=True) if data["layer"] == layer)


def _add(graph: Any, revision: Revision) -> None:
    content, name = revision.definition, revision.full_name
    details = f"version {revision.version}, revision {revision.revision}"
    if revision.kind == SERVICE:
        _node(graph, f"service:{name}", "service", name, f"revision {revision.revision}")
        for view in content["views"]:
            graph.add_edge(f"view:{view}", f"service:{name}")
        return
    layer = "request-time view" if revision.kind == ON_DEMAND else "view"
    _node(graph, f"view:{name}", layer, name, f"{details}, {len(content['features'])} features")
    if revision.kind == ON_DEMAND:
        for view in content["inputs"]:
            graph.add_edge(f"view:{view}", f"view:{name}")
        return
    code = f"code:{content['code_path']}@{content['code_hash']}"
    file = content["code_path"].removeprefix("feature_repo/transformations/")
    _node(graph, code, "transformation", file, f"code {content['code_hash'][:8]}")
    graph.add_edge(code, f"view:{name}")
    for table in content["sources"]:
        _node(graph, f"table:{table}", "table", table, "")
        graph.add_edge(f"table:{table}", code)


def _add_model(graph: Any, model: Model, now: Mapping[str, Revision]) -> None:
    node = f"model:{model.name}/{model.version}"
    trained = ", ".join(f"{v} v{d['version']}" for v, d in model.features.items())
    details = f"{model.version}\non {trained or 'unknown versions'}"
    _node(graph, node, "model", model.name, details)
    service = f"service:{model.service}"
    if service not in graph:
        _node(graph, service, "service", model.service, "not registered")
    graph.add_edge(service, node)
    broken = [
        f"{view}: trained on version {asked['version']}, registered is "
        + (f"version {now[view].version}" if view in now else "none")
        for view, asked in model.features.items()
        if view not in now or now[view].version != asked["version"]
    ]
    if broken:
        graph.edges[service, node]["broken"] = "; ".join(broken)


def _node(graph: Any, node: str, layer: str, label: str, details: str) -> None:
    graph.add_node(node, layer=layer, label=label, details=details)


def layers(graph: Any) -> Sequence[tuple[str, list[str]]]:
    """The nodes of each layer that has any, from left to right."""
    return [(layer, nodes) for layer in LAYERS if (nodes := _of_layer(graph, layer))]
