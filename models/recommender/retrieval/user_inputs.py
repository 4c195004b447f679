"""What a recommender's graph is told of users, from raw values: by all who run an artifact.

Limits: needs neither torch nor polars, so that serving can import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.artifact import Artifact
from models.recommender.ranking.encoding import PADDING, Encoding

FIELDS = "user_fields.json"  # the asset: fields and encoding
USER = "user_"  # begins the names of the graph's inputs

Column = npt.NDArray[Any]


class UserInputs:
    """The inputs of an artifact; none where its model reads nothing of users.

    Args:
        encoding: of the asset; None: there is none.
    """

    def __init__(self, encoding: Encoding | None) -> None:
        self.encoding = encoding
        self.fields = () if encoding is None else encoding.fields.all

    @classmethod
    def of(cls, artifact: Artifact) -> UserInputs:
        if f"assets/{FIELDS}" not in artifact.signature.files:
            return cls(None)
        return cls(Encoding.from_json(artifact.read_asset(FIELDS)))

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
        """Raw values by field, of N users → numbers [N], ids [N], or padded bags [N, L] by input.

        What a row lacks is missing; what the model does not know is not read.

        Raises:
            FieldError: a value that a field cannot take; the text names both.
        """
        if self.encoding is None:
            return {}
        return {
            f"{USER}{f.name}": self.encoding.column(f, [row.get(f.name) for row in rows])
            for f in self.fields
        }


def stacked(parts: Sequence[Column]) -> Column:
    """Rows below one another; bags become as wide as the widest."""
    if parts[0].ndim == 2:
        width = max(part.shape[1] for part in parts)
        parts = [
            np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=PADDING) for p in parts
        ]
    return np.concatenate(parts)
