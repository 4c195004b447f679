"""The versions of a feature service that the code has now: what a training of today is on."""

from __future__ import annotations

import difflib
from typing import Any

from feature_repo.registry.contract import entry
from feature_repo.registry.declaration import declared
from feature_repo.services import SERVICES
from feature_repo.store import StoreError


def code_versions(service: str) -> dict[str, dict[str, Any]]:
    """View → its version and schema as the code has them; see `contract.py`.

    Raises:
        StoreError: feature_repo/services.py has no such service, or it names a view that
            feature_repo/views.py lacks.
    """
    if service not in SERVICES:
        near = difflib.get_close_matches(service, SERVICES, n=3, cutoff=0.5) or list(SERVICES)
        raise StoreError(f"no feature service {service!r}; nearest: {', '.join(near)}")
    there = {d.full_name: d for d in declared()}
    missing = [v for v in SERVICES[service] if v not in there]
    if missing:
        raise StoreError(
            f"feature service {service} in feature_repo/services.py names {', '.join(missing)}, "
            f"which feature_repo/views.py does not have; there are {', '.join(there)}"
        )
    return {
        name: entry(d.version, None, d.schema_hash(), d.content)
        for name, d in there.items()
        if name in SERVICES[service]
    }
