"""The request-time features as Feast's on-demand views."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from feature_repo.requests import REQUEST_VIEWS, RequestView
from feature_repo.store import feast

_types: Any = __import__("feast.types", fromlist=["Float64"])

OWNER = "millrace"


def on_demand_views(views: Mapping[str, Any]) -> list[Any]:
    """Feast's views of `requests.py`, those whose stored views are all there."""
    return [
        _on_demand(view, views)
        for view in REQUEST_VIEWS.values()
        if all(name in views for name in view.inputs)
    ]


def _on_demand(view: RequestView, views: Mapping[str, Any]) -> Any:
    module = feast()
    from feast.transformation.python_transformation import PythonTransformation

    sources = [views[name][list(features)] for name, features in view.inputs.items()]
    if view.sent:
        sent = [module.Field(name=n, dtype=_types.Float64) for n in view.sent]
        sources.append(module.RequestSource(name=f"{view.name}_request", schema=sent))
    function: Any = view.function
    return module.OnDemandFeatureView(
        name=view.name,
        sources=sources,
        # Feast compares these with what it infers by a trial run, which has no descriptions.
        schema=[module.Field(name=n, dtype=_types.Float64) for n in view.outputs],
        mode="python",
        feature_transformation=PythonTransformation(function, inspect.getsource(function)),
        description=view.description,
        owner=OWNER,
    )
