"""The fields that telemetry is checked against: those of the version in force."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from models import artifact
from models.artifact import Artifact, ArtifactError
from models.champion import champion
from serving.gateway.anomalies.events import Event, EventError

log = logging.getLogger(__name__)


def require_known(event: Event, fields: Sequence[str], name: str, version: str) -> None:
    """An event may lack fields of the model's, and have others, but not lack all.

    Raises:
        EventError: it has a number for none of them.
    """
    if not any(event.fields.get(field) is not None for field in fields):
        raise EventError(
            None,
            f"the event has a number for none of the fields of model {name} {version}; it has "
            f"{sorted(event.fields)[:20]}",
            f"a number for at least one of {list(fields)}",
        )


class FieldsInForce:
    """Follows the champion as the stream processor does, where it lies beside the served version.

    What the gateway serves stays what it was started with; the stream goes on to the next champion
    by itself. A record or version that cannot be read leaves what was known.

    Args:
        served: by this gateway.
        max_age_s: for so long nobody looks again.
    """

    def __init__(self, served: Artifact, max_age_s: float) -> None:
        self._name = served.signature.name
        self._max_age_s = max_age_s
        self._looked_at = float("-inf")
        self._path = served.path
        self._version = served.signature.version
        self._fields: list[str] = served.read_asset("fields.json")

    def check(self, event: Event) -> None:
        """See `require_known`; by what was known at the last `renew`."""
        require_known(event, self._fields, self._name, self._version)

    async def renew(self) -> None:
        """Look at which version is in force, if that is long ago. Never raises."""
        now = time.monotonic()
        if now - self._looked_at >= self._max_age_s:
            self._looked_at = now
            await asyncio.to_thread(self._renew)

    def _renew(self) -> None:
        folder = self._path.parent
        if folder.name != self._name:
            return  # an artifact that lies by itself: there is no champion to follow
        try:
            path = Path(champion(folder.parent, self._name))
            if path == self._path:
                return
            found = artifact.load(path)
            fields: list[str] = found.read_asset("fields.json")
        except (ArtifactError, OSError) as error:
            log.warning("telemetry is checked by version %s still: %s", self._version, error)
            return
        self._path, self._version, self._fields = path, found.signature.version, fields
        log.info("telemetry is checked by version %s: fields %s", self._version, fields)
