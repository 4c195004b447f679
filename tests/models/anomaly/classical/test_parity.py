"""Classical models as tensors decide as scikit-learn does."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.neighbors import LocalOutlierFactor
from sklearn.neighbors import NearestNeighbors as Index
from sklearn.svm import OneClassSVM

from models.anomaly.classical.isolation_forest import Isolation
from models.anomaly.classical.likeness import Likeness
from models.anomaly.classical.local_outlier_factor import LocalOutlier
from models.anomaly.classical.model import ClassicalModel
from models.anomaly.classical.nearest_neighbours import NearestNeighbours
from models.anomaly.classical.one_class_svm import OneClass
from models.anomaly.classical.supervised import GradientBoosting, RandomForest
from models.anomaly.classical.trees import raised
from models.anomaly.preparation import Prepared

RNG = np.random.default_rng(0)
NORMAL = (RNG.normal(size=(800, 2)) @ RNG.normal(size=(2, 5)) + RNG.normal(size=(800, 5))).astype(
    np.float32
)
LABEL = np.repeat(np.array([0, 1], np.int8), [600, 200])
LABELLED = NORMAL + 3 * LABEL[:, None].astype(np.float32)
ASKED = RNG.normal(size=(300, 5), scale=3).astype(np.float32)


def prepared(x: NDArray[np.float32]) -> Prepared:
    values = torch.from_numpy(x)
    return Prepared(values, torch.ones_like(values), values[:, :0])


def raw(model: ClassicalModel, x: NDArray[np.float32] = NORMAL) -> NDArray[np.float32]:
    model.learn(prepared(x), LABEL)
    answer: NDArray[np.float32] = model.assess(prepared(ASKED)).raw.numpy()
    return answer


def test_isolation_forest() -> None:
    make = partial(IsolationForest, n_estimators=50, random_state=0)
    right = -make().fit(NORMAL).score_samples(ASKED)
    np.testing.assert_allclose(raw(Isolation(make, Likeness())), right, atol=1e-6)


def test_isolation_forest_on_some_of_the_fields() -> None:
    make = partial(IsolationForest, n_estimators=50, max_features=3, random_state=0)
    right = -make().fit(NORMAL).score_samples(ASKED)
    np.testing.assert_allclose(raw(Isolation(make, Likeness())), right, atol=1e-6)


def test_local_outlier_factor() -> None:
    fitted = LocalOutlierFactor(n_neighbors=10, novelty=True).fit(NORMAL)
    right = np.log(-fitted.score_samples(ASKED))
    ours = raw(LocalOutlier(LocalOutlierFactor, 10, 1000, Likeness()))
    np.testing.assert_allclose(ours, right, atol=1e-5)


def test_one_class_svm() -> None:
    make = partial(OneClassSVM, nu=0.1)
    model = OneClass(make, 0.5, 1000, Likeness())
    ours = raw(model)
    fitted = make(gamma=float(model.gamma)).fit(NORMAL)
    np.testing.assert_allclose(np.exp(-ours), fitted.score_samples(ASKED), rtol=1e-4, atol=1e-6)


def test_one_class_svm_still_rises_where_the_kernel_has_vanished() -> None:
    model = OneClass(partial(OneClassSVM, nu=0.1), 0.5, 1000, Likeness())
    raw(model)
    far = np.zeros((3, 5), np.float32)
    far[:, 0] = [100, 200, 400]
    rising = model.assess(prepared(far)).raw.numpy()
    assert np.isfinite(rising).all()
    assert (np.diff(rising) > 0).all()


def test_nearest_neighbours() -> None:
    right = Index(n_neighbors=5).fit(NORMAL).kneighbors(ASKED)[0].mean(1)
    ours = raw(NearestNeighbours(5, 1000, Likeness()))
    np.testing.assert_allclose(ours, right, atol=1e-5)


def test_random_forest() -> None:
    make = partial(RandomForestClassifier, n_estimators=40, max_depth=8, random_state=0)
    share = make().fit(LABELLED, LABEL).predict_proba(ASKED)[:, 1]
    ours = raw(RandomForest(make, Likeness()), LABELLED)
    half = 0.5 / 40
    np.testing.assert_allclose(ours, np.log(share + half) - np.log(1 - share + half), atol=1e-4)


def test_gradient_boosting() -> None:
    make = partial(HistGradientBoostingClassifier, max_iter=40, random_state=0)
    right = make().fit(LABELLED, LABEL).decision_function(ASKED)
    ours = raw(GradientBoosting(make, Likeness()), LABELLED)
    np.testing.assert_allclose(ours, right, atol=1e-4)


@pytest.mark.parametrize("fields", [5, 3])
def test_the_steps_of_all_fields_lead_from_the_roots_to_the_answer(fields: int) -> None:
    make = partial(HistGradientBoostingClassifier, max_iter=10, random_state=0)
    model = GradientBoosting(make, Likeness())
    model.grow(make().fit(LABELLED, LABEL), fields)
    x = torch.from_numpy(ASKED)
    answer, steps = model.trees(x)
    roots = model.trees.table[model.trees.roots, 0].sum()
    whole = torch.allclose(roots + steps.sum(1), answer, atol=1e-4)
    assert whole == (fields == 5)  # what columns beyond the fields changed is not put down to any


def test_a_field_out_of_range_has_no_say_in_what_is_expected() -> None:
    likeness = Likeness(rows=800, neighbours=10)
    likeness.learn(NORMAL)
    usual = NORMAL[:50].copy()
    moved = usual.copy()
    moved[:, 0] += 30
    off = np.abs(likeness(prepared(moved)).numpy()[:, 0] - usual[:, 0])
    assert np.median(off) < NORMAL[:, 0].std()


def test_of_equally_near_events_all_count() -> None:
    """As with counters and states: what is expected must not depend on whose `topk` is asked."""
    few = RNG.integers(0, 3, size=(800, 5)).astype(np.float32)
    likeness = Likeness(neighbours=10, outside=0.0)
    likeness.learn(few)
    asked = torch.from_numpy(RNG.integers(0, 3, size=(50, 5)).astype(np.float32))
    found = likeness(Prepared(asked, torch.ones_like(asked), asked[:, :0]))
    order = torch.from_numpy(RNG.permutation(len(few)))
    likeness.memory = likeness.memory[order]
    again = likeness(Prepared(asked, torch.ones_like(asked), asked[:, :0]))
    torch.testing.assert_close(found, again, atol=1e-5, rtol=0)


def test_noise_of_what_is_expected_raises_nothing() -> None:
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    expected = torch.tensor([[1.0, 2.00003], [1.0, 2.5]])
    assert raised(torch.zeros(2, 2), x, expected).tolist() == [[0.0, 0.0], [0.0, 0.25]]
