"""torchrec's parts, imported without what fbgemm says of itself: a log line for each library it
loads, and warnings of its own old modules."""

from __future__ import annotations

import logging
import warnings

_before = logging.root.manager.disable
logging.disable(logging.INFO)
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from torchrec import (
            EmbeddingBagCollection,
            EmbeddingBagConfig,
            EmbeddingCollection,
            EmbeddingConfig,
            KeyedJaggedTensor,
            KeyedTensor,
        )
        from torchrec.modules.embedding_configs import PoolingType
finally:
    logging.disable(_before)

__all__ = [
    "EmbeddingBagCollection",
    "EmbeddingBagConfig",
    "EmbeddingCollection",
    "EmbeddingConfig",
    "KeyedJaggedTensor",
    "KeyedTensor",
    "PoolingType",
]
