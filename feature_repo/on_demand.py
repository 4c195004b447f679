"""The request-time features as Feast's on-demand view."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from feature_repo import requests
from feature_repo.store import feast

_types: Any = __import__("feast.types", fromlist=["Float64"])

DESCRIPTION = "What a price and an item's trend mean to this user, at the request."
OWNER = "millrace"


def on_demand_view(views: Mapping[str, Any]) -> Any | None:
    """Feast's view of `requests.purchase_context`; None unless the views it reads are all there."""
    if not all(name in views for name in requests.INPUTS):
        return None
    module = feast()
    from feast.transformation.python_transformation import PythonTransformation

    function: Any = requests.purchase_context
    sent = module.RequestSource(
        name=f"{requests.NAME}_request",
        schema=[module.Field(name=n, dtype=_types.Float64) for n in requests.SENT],
    )
    return module.OnDemandFeatureView(
        name=requests.NAME,
        sources=[*(views[v][list(names)] for v, names in requests.INPUTS.items()), sent],
        schema=[
            # Feast compares these with what it infers by a trial run, which has no descriptions.
            module.Field(name=n, dtype=_types.Float64)
            for n in requests.OUTPUTS
        ],
        mode="python",
        feature_transformation=PythonTransformation(function, inspect.getsource(function)),
        description=DESCRIPTION,
        owner=OWNER,
    )
