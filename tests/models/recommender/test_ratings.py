"""Rating models on planted tastes, their graphs, and the ways in which ratings can be bad."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from models.export import ParityError, export_onnx
from models.recommender.evaluation import RankingTask
from models.recommender.interactions import DataError, Interactions
from models.recommender.ratings.bayesian import BayesianFactorization
from models.recommender.ratings.biases import Biases, MeanRating
from models.recommender.ratings.blend import RatingBlend
from models.recommender.ratings.equations import normal_equations
from models.recommender.ratings.evaluation import errors, ranking, relevant
from models.recommender.ratings.export import parity
from models.recommender.ratings.low_rank import low_rank
from models.recommender.ratings.model import RatingModel, learn
from models.recommender.ratings.neighbours import RatingNeighbours
from models.recommender.ratings.prior import Prior
from models.recommender.ratings.svd import BiasedSVD
from models.recommender.ratings.table import Ratings
from models.recommender.splits import RandomFolds, Split

SCALE = [1, 5]


def rated(rows: list[tuple[str, str, float]], times: list[int] | None = None) -> Interactions:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "rating"], orient="row")
    time = pl.Series("timestamp", times or list(range(len(rows))))
    return Interactions.from_frame(
        frame.with_columns(time.cast(pl.Datetime("us", "UTC")), pl.col("rating").cast(pl.Float32))
    )


def planted(users: int = 60, items: int = 40, seed: int = 0) -> Interactions:
    """Two camps of users, two kinds of items: each likes its own; some are generous."""
    rng = np.random.default_rng(seed)
    generous = rng.normal(0, 0.6, users)
    rows = []
    for u in range(users):
        for i in rng.choice(items, 20, replace=False):
            stars = 3.0 + generous[u] + (0.8 if u % 2 == i % 2 else -0.8) + rng.normal(0, 0.3)
            rows.append((f"u{u}", f"i{i}", float(np.clip(stars, 1, 5))))
    return rated(rows)


class Camps:
    """What is known of users: which camp they belong to."""

    def read(self, ids: pl.Series) -> pl.DataFrame:
        camps = [[f"camp={int(i[1:]) % 2}"] for i in ids]
        return pl.DataFrame({"text": [""] * len(ids), "categories": camps})


def bayesian(**more: object) -> BayesianFactorization:
    settings: dict[str, object] = {"dims": 3, "draws": 20, "burn_in": 10, "seed": 1}
    return BayesianFactorization(SCALE, **(settings | more))  # type: ignore[arg-type]


MODELS: dict[str, Callable[[], RatingModel]] = {
    "mean": lambda: MeanRating(SCALE),
    "biases": lambda: Biases(SCALE),
    "svd": lambda: BiasedSVD(SCALE, dims=3, regularization=0.05),
    "knn": lambda: RatingNeighbours(SCALE, k=10, shrinkage=5.0),
    "bayesian": bayesian,
    "blend": lambda: RatingBlend(
        SCALE,
        {"svd": BiasedSVD(SCALE, dims=3), "knn": RatingNeighbours(SCALE, k=10, shrinkage=5.0)},
    ),
}


def fitted(name: str, data: Interactions, split: Split) -> RatingModel:
    model = MODELS[name]()
    learn(model, data, split.train, split.validation)
    return model


def test_each_model_beats_what_it_builds_on() -> None:
    data = planted()
    split = RandomFolds(5, 0, seed=2).split(data)
    rmse = {name: errors(fitted(name, data, split), data, split.test)["rmse"] for name in MODELS}
    assert rmse["biases"] < rmse["mean"] - 0.1, "some are generous"
    for name in ("svd", "knn", "bayesian", "blend"):
        assert rmse[name] < 0.7 * rmse["biases"], f"{name} should see the camps: {rmse}"
    assert rmse["blend"] < min(rmse["svd"], rmse["knn"]) + 0.02


def test_biases_are_what_is_left_around_the_mean() -> None:
    data = rated([("a", "x", 5), ("a", "y", 3), ("b", "x", 3), ("b", "y", 1)])
    model = Biases(SCALE, user_shrinkage=0, item_shrinkage=0)
    model.fit(data, np.ones(4, dtype=bool))
    assert model.user_bias.tolist() == pytest.approx([0, 1, -1], abs=1e-5)
    assert model.item_bias.tolist() == pytest.approx([0, 1, -1], abs=1e-5)
    nobody = torch.tensor([0, 1]), torch.tensor([0, 0])
    assert model(*nobody).tolist() == pytest.approx([3.0, 4.0], abs=1e-5)


def test_normal_equations_equal_a_loop_over_rows() -> None:
    rng = np.random.default_rng(0)
    data = Ratings(
        np.array([0, 0, 1]), np.array([0, 2, 1]), np.array([1, 2, 3], np.float32), 3, 3
    )  # fmt: skip
    known = torch.from_numpy(rng.normal(size=(3, 4)))
    a, b = normal_equations(data.matrix(np.ones(3)), data.matrix(), known)
    z = known.numpy()
    np.testing.assert_allclose(a[0], np.outer(z[0], z[0]) + np.outer(z[2], z[2]))
    np.testing.assert_allclose(b[0], z[0] + 2 * z[2])
    assert not a[2].any(), "a user without ratings has no equations"


def test_a_narrow_product_keeps_what_a_wide_one_says() -> None:
    rng = np.random.default_rng(0)
    middle = rng.normal(size=(5, 60))
    left, right = rng.normal(size=(40, 5)) @ middle, rng.normal(size=(30, 5)) @ middle
    for rank in (5, 100):  # below and above what the sizes allow
        narrow = low_rank(left, right, rank)
        np.testing.assert_allclose(narrow[0] @ narrow[1].T, left @ right.T, atol=1e-6)


def test_the_prior_finds_mean_spread_and_map() -> None:
    rng = np.random.default_rng(0)
    features = np.eye(2)[rng.integers(2, size=4000)]
    true = np.array([[1.0, -1.0], [-1.0, 1.0]])
    factors = torch.from_numpy(features @ true + 2.0 + rng.normal(0, 0.5, (4000, 2)))
    prior = Prior(4000, 2, features, 1.0, rng)
    for _ in range(30):
        means, precision = prior.draw(factors)
    np.testing.assert_allclose(means, features @ true + 2.0, atol=0.1)
    np.testing.assert_allclose(precision, np.eye(2) / 0.25, atol=0.5)


def test_attributes_tell_of_a_user_without_ratings() -> None:
    """u0 likes even items, which only its camp says: none of its ratings is learnt from."""
    data = planted()
    stranger = data.user == data.user_ids.to_list().index("u0")
    model = bayesian(users=Camps(), rated_sets=False)
    model.fit(data, ~stranger)
    code = data.user_ids.to_list().index("u0") + 1
    stars = model.catalog(torch.tensor([code]))[0, 1:]
    even = torch.tensor([int(i[1:]) % 2 == 0 for i in data.item_ids])
    assert stars[even].mean() > stars[~even].mean() + 1.0
    again = bayesian(users=Camps(), rated_sets=False)
    again.fit(data, ~stranger)
    assert torch.equal(again.user_bias, model.user_bias), "one seed, one answer"


def test_a_blend_without_validation_is_the_mean_of_its_parts() -> None:
    data = planted()
    model = MODELS["blend"]()
    everything = np.ones(len(data), dtype=bool)
    learn(model, data, everything, ~everything)
    assert isinstance(model, RatingBlend)
    assert model.weights.tolist() == [0.5, 0.5]
    with pytest.raises(DataError, match="at least 2 parts"):
        RatingBlend(SCALE, {"svd": BiasedSVD(SCALE), "knn": None})


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_one_graph_and_answers_for_strangers(name: str, tmp_path: Path) -> None:
    data = planted(users=12, items=30)
    split = RandomFolds(5, 0).split(data)
    model = fitted(name, data, split).eval()
    example = {"user": torch.tensor([0, 1]), "item": torch.tensor([0, 1])}
    file = tmp_path / "model.onnx"
    export_onnx(model, example, {k: {0: "batch"} for k in example}, ["rating"], file)
    user = torch.tensor([0, 0, 3, 12, 1])
    item = torch.tensor([0, 5, 0, 30, 1])
    assert parity(file, model, user, item, 1e-4) <= 1e-4
    answers = model(user, item)
    assert ((answers >= 1) & (answers <= 5)).all()
    other = copy.deepcopy(model)
    for buffer in other.buffers():
        buffer.mul_(0.9)
    with pytest.raises(ParityError, match="further apart than"):
        parity(file, other, user, item, 1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_catalog_of_a_user_says_what_pairs_say(name: str) -> None:
    data = planted(users=12, items=30)
    model = fitted(name, data, RandomFolds(5, 1).split(data))
    users = torch.tensor([0, 4, 12])
    catalog = model.catalog(users)
    assert catalog.shape == (3, data.n_items + 1)
    items = torch.arange(1, data.n_items + 1)
    for row, user in zip(catalog, users, strict=True):
        pairs = model(user.expand(len(items)), items)
        torch.testing.assert_close(row[1:].clamp(1, 5), pairs, atol=1e-4, rtol=0)


def test_lists_by_stars_are_ranked_for_each_user() -> None:
    data = planted()
    split = RandomFolds(5, 0).split(data)
    known = split.train | split.validation
    task = RankingTask.of_users(data, known, relevant(data, split.test, 4.0))
    assert len(task) < int(split.test.sum()), "only good ratings are asked for"
    svd = ranking(fitted("svd", data, split), task, [10], 7)
    mean = ranking(fitted("mean", data, split), task, [10], 7)
    assert svd["ndcg@10"] > 2 * mean["ndcg@10"]


def test_of_a_pair_rated_again_the_newest_counts_and_of_equal_times_the_later_row() -> None:
    data = rated([("a", "x", 1), ("a", "x", 4), ("a", "y", 2), ("a", "y", 5)], [9, 3, 7, 7])
    ratings = Ratings.of(data, np.ones(4, dtype=bool))
    found = {data.item_ids[int(i)]: float(s) for i, s in zip(ratings.item, ratings.stars,
                                                             strict=True)}  # fmt: skip
    assert found == {"x": 1.0, "y": 5.0}


def test_bad_settings_and_data_are_named() -> None:
    with pytest.raises(DataError, match=r"rating_scale=\[1,5\], not None"):
        MeanRating(None)
    with pytest.raises(DataError, match="such as"):
        MeanRating([5, 1])
    bare = rated([("a", "x", 1)])
    with pytest.raises(DataError, match="no rating to learn from"):
        MeanRating(SCALE).fit(bare, np.zeros(1, dtype=bool))
    with pytest.raises(DataError, match="max_cells=3"):
        RatingNeighbours(SCALE, max_cells=3).fit(bare, np.ones(1, dtype=bool))
    with pytest.raises(DataError, match="no held-out rating"):
        errors(MeanRating(SCALE), bare, np.zeros(1, dtype=bool))
    unrated = Interactions(bare.user_ids, bare.item_ids, bare.user, bare.item, bare.timestamp, None)
    with pytest.raises(DataError, match="carry no ratings"):
        MeanRating(SCALE).fit(unrated, np.ones(1, dtype=bool))
