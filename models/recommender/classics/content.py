"""Content-based similarity: what reads like the items of a history.

Needs no interactions, so that an item nobody has touched is found by its text and attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import polars as pl
import torch
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import normalize
from torch import Tensor
from torch.nn import functional as F

from models.recommender.classics.bags import recency
from models.recommender.classics.model import Classic
from models.recommender.interactions import DataError, Interactions


class ItemReader(Protocol):
    """Anything that knows the items' `text` and `categories`, in the order of their ids, such as
    `models.recommender.attributes.AttributeTable`."""

    def read(self, ids: pl.Series) -> pl.DataFrame: ...


class TextReader(Protocol):
    """Makes vectors of texts; a text without any word gives zeros."""

    def of(self, texts: Sequence[str]) -> sparse.csr_matrix | np.ndarray: ...


class TfidfText:
    """Words and word pairs, weighted by how rare they are.

    Args:
        ngrams: longest run of words that is a feature.
        least: items that a feature must occur in.
        features: at most so many, the most frequent.
    """

    def __init__(self, ngrams: int = 2, least: int = 2, features: int = 50_000) -> None:
        self.ngrams = ngrams
        self.least = least
        self.features = features

    def of(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """[texts, features]; no features where no word is frequent enough."""
        vectorizer = TfidfVectorizer(
            ngram_range=(1, self.ngrams),
            min_df=self.least,
            max_features=self.features,
            sublinear_tf=True,
            strip_accents="unicode",
        )
        try:
            return sparse.csr_matrix(vectorizer.fit_transform(texts))
        except ValueError:  # no word is left: other attributes may still say something
            return sparse.csr_matrix((len(texts), 0))


class Content(Classic):
    """Score = cosine between an item's vector and the mean of the history's, the recent ones more.

    Args:
        items: reader of text and categories.
        text: makes vectors of the texts.
        text_share: of the squared length of an item's vector; the rest is its categories'.
        dims: wider vectors are reduced to so many by a truncated SVD.
        decay: an item one step further back in the history counts so much less; 0: the last alone.
    """

    what = "Content-based similarity of item text and attributes"
    limits = "Items without text or categories are never recommended"
    vectors: Tensor  # [V + 1, D] of length 1, or 0 where nothing is known

    def __init__(
        self,
        items: ItemReader,
        text: TextReader,
        text_share: float = 0.5,
        dims: int = 256,
        decay: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= text_share <= 1:
            raise DataError(f"text_share must lie between 0 and 1, not {text_share}")
        self.items = items
        self.text = text
        self.text_share = text_share
        self.dims = dims
        self.decay = decay
        self.seed = seed
        self.register_buffer("vectors", torch.zeros(1, 1))

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        """Interactions teach nothing here: only the catalog's order is taken from them.

        Raises:
            DataError: no item has a text or a category.
        """
        known = self.items.read(data.item_ids)
        text = sparse.csr_matrix(self.text.of(known["text"].to_list()))
        categories = _categories(known["categories"].to_list())
        shares = ((self.text_share, text), (1 - self.text_share, categories))
        parts = [share**0.5 * normalize(part) for share, part in shares if part.shape[1]]
        features = sparse.hstack(parts or [text]).tocsr()
        if not features.nnz:
            raise DataError("no item has a text or a category: content cannot be compared")
        if features.shape[1] > self.dims and min(features.shape) > self.dims:
            reducer = TruncatedSVD(self.dims, random_state=self.seed)
            dense = reducer.fit_transform(features)
        else:
            dense = features.toarray()
        vectors = normalize(dense).astype(np.float32)
        self.vectors = torch.from_numpy(np.vstack([np.zeros_like(vectors[:1]), vectors]))

    def score(self, history: Tensor) -> Tensor:
        weights = recency(history, self.decay)
        profile = (self.vectors[history] * weights[:, :, None]).sum(1)  # [B, D]
        return F.normalize(profile, dim=1) @ self.vectors.T


def _categories(rows: Sequence[Sequence[str]]) -> sparse.csr_matrix:
    """One column a category, the rarer the heavier; one that all items have says nothing."""
    vectorizer = CountVectorizer(analyzer=lambda row: row, binary=True)
    try:
        given = sparse.csr_matrix(vectorizer.fit_transform(rows), dtype=np.float64)
    except ValueError:
        return sparse.csr_matrix((len(rows), 0))
    counts = np.asarray(given.sum(axis=0)).ravel()
    weighed = sparse.csr_matrix(given @ sparse.diags(np.log((1 + len(rows)) / (1 + counts))))
    weighed.eliminate_zeros()
    return weighed
