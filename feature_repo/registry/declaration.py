"""What the code declares: the definitions that an apply gives to the registry."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from feature_repo.on_demand import OWNER
from feature_repo.registry.definition import Definition, of_on_demand, of_service, of_view
from feature_repo.requests import REQUEST_VIEWS
from feature_repo.services import SERVICES
from feature_repo.view import View
from feature_repo.views import VIEWS


def declared(views: Sequence[View] = VIEWS, known: Collection[str] = ()) -> list[Definition]:
    """These views, and the request-time views and services whose views are all there.

    Args:
        known: views that are registered already, and so need not be among `views`.
    """
    found = [of_view(v) for v in views]
    there = {*known, *(d.full_name for d in found)}
    for view in REQUEST_VIEWS.values():
        if all(name in there for name in view.inputs):
            found.append(of_on_demand(view, OWNER))
            there.add(view.name)
    return found + [
        of_service(name, needed)
        for name, needed in SERVICES.items()
        if all(v in there for v in needed)
    ]
