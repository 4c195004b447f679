"""The catalog and the lineage of a real store and a real tiny artifact."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import matplotlib.image
import polars as pl
import pytest

from feature_repo.registry import catalog, lineage
from feature_repo.registry.apply import remove
from feature_repo.registry.author import Author
from feature_repo.registry.definition import of_service, of_view
from feature_repo.registry.drawing import draw
from feature_repo.registry.lineage import Model
from feature_repo.store import StoreError
from tests.feature_repo.registry.conftest import ANN, SPEND, TERMS, VIEWS, Registry, a_view

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDERS = replace(VIEWS, name="orders", description="lines ordered")


@pytest.fixture
def shop(local: Registry) -> Registry:
    """Three revisions of `shopping`, with rows; `shop_v1` reads it."""
    local.apply(a_view(), services=("shop_v1",))
    local.apply(a_view(VIEWS, SPEND, ORDERS), services=("shop_v1",), who=Author("bob", "orders"))
    narrow = a_view(VIEWS, replace(SPEND, highest=9.0), ORDERS)
    local.apply(narrow, services=("shop_v1",), who=Author("eve", "cap"))
    rows = pl.DataFrame(
        {"user_id": ["a", "b"], "event_timestamp": [NOON, NOON + timedelta(days=2)]}
    )
    for day in range(2):
        path = local.folder / "offline" / "shopping" / f"day=2026-01-0{day + 1}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        rows[day : day + 1].write_parquet(path)
    return local


def test_describe_says_everything_of_every_feature(shop: Registry) -> None:
    found = catalog.describe(shop.folder, [], "shopping")
    assert (found["version"], found["revision"], found["used_by"]) == (1, 3, ["shop_v1"])
    assert found["offline"] == {
        "rows": 2, "newest": NOON + timedelta(days=2), "broken_files": [],
    }  # fmt: skip
    features = {f["name"]: f for f in found["features"]}
    spend = features["spend"]
    assert spend["description"] == "money spent"
    assert spend["owner"] == "millrace"
    assert spend["source"] == ["events"]
    assert spend["transformation"] == "feature_repo/transformations/user_counters.py"
    assert spend["code_hash"] == a_view().code_hash()
    assert spend["frequency_s"] == 86400
    assert spend["freshness_s"] == 2 * 86400
    assert spend["dtype"] == "Float64"
    assert (spend["rows"], spend["newest"]) == (2, NOON + timedelta(days=2))
    assert (spend["created"]["by"], spend["changed"]["by"]) == ("ann", "eve")
    assert (spend["changed"]["why"], spend["changed"]["revision"]) == ("cap", 3)
    assert features["orders"]["created"]["by"] == features["orders"]["changed"]["by"] == "bob"
    (only,) = catalog.describe(shop.folder, [], "shopping:orders")["features"]
    assert only["name"] == "orders"


def test_describe_names_files_that_cannot_be_read(shop: Registry) -> None:
    (broken, _) = sorted((shop.folder / "offline").rglob("*.parquet"))
    broken.write_bytes(broken.read_bytes()[:-20])
    found = catalog.describe(shop.folder, [], "shopping")["offline"]
    assert found["rows"] == 1
    assert str(broken) in found["broken_files"][0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shoping", "no view or service 'shoping'; nearest: shopping"),
        ("shopping_v2", "no view or service 'shopping_v2'; nearest: shopping"),
        ("shopping:veiws", "view shopping has no feature 'veiws'; nearest: views"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(
    shop: Registry, name: str, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        catalog.describe(shop.folder, [], name)


def test_list_compares_with_the_code(shop: Registry) -> None:
    code = [of_view(a_view()), of_view(a_view(name="other")), of_service("shop_v1", ["shopping"])]
    states = {e["name"]: e["state"] for e in catalog.entries(shop.folder, code)}
    assert states == {
        "shopping": "changed in the code", "shop_v1": "current", "other": "not applied",
    }  # fmt: skip
    assert {e["state"] for e in catalog.entries(shop.folder, [])} == {"not in the code"}


def test_search_finds_views_and_features_by_words(shop: Registry) -> None:
    assert [e["name"] for e in catalog.search(shop.folder, [], "ORDERED lines")] == [
        "shopping:orders"
    ]
    assert [e["name"] for e in catalog.search(shop.folder, [], "user bought")] == ["shopping"]
    assert catalog.search(shop.folder, [], "no such thing") == []


def test_history_and_diff_tell_what_changed(
    shop: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_repo.view.View.code", lambda _: "def other(): ...")
    shop.apply(a_view(VIEWS, SPEND, ORDERS), services=("shop_v1",))
    assert [r.revision for r in catalog.history(shop.folder, "shopping")] == [1, 2, 3, 4]
    assert len(catalog.history(shop.folder, None)) == 5
    found = catalog.diff(shop.folder, "shopping", 1, 4)
    texts = {c["text"]: c["breaking"] for c in found["changes"]}
    assert texts["feature orders added (Int64)"] is False
    assert (found["from"]["by"], found["to"]["by"]) == ("ann", "ann")
    assert "+def other(): ..." in found["code"]
    assert any(line.startswith("-def user_counters") for line in found["code"])
    back = catalog.diff(shop.folder, "shopping", 4, 1)["changes"]
    assert (back[0]["text"], back[0]["breaking"]) == ("feature orders removed", True)
    with pytest.raises(StoreError, match="shopping has no revision 9; there are 1, 2, 3, 4"):
        catalog.diff(shop.folder, "shopping", 1, 9)


def models(version: int = 1) -> list[Model]:
    features = {"shopping": {"version": version, "schema": "x"}}
    return [Model("recommender", "20260101-000000-000", "shop_v1", features)]


def test_lineage_runs_from_table_to_model(shop: Registry, tmp_path: Path) -> None:
    shop.apply(a_view(name="lonely"))
    graph = lineage.lineage(shop.folder, models())
    code = f"code:feature_repo/transformations/user_counters.py@{a_view().code_hash()}"
    model = "model:recommender/20260101-000000-000"
    path = ["table:events", code, "view:shopping", "service:shop_v1", model]
    assert all(graph.has_edge(a, b) for a, b in itertools.pairwise(path))
    text = lineage.as_text(graph)
    assert "shopping  (version 1, revision 3, 3 features)  ← user_counters.py" in text
    assert "recommender  (20260101-000000-000, on shopping v1)  ← shop_v1" in text
    around = lineage.lineage(shop.folder, models(), "shop_v1")
    assert set(around) == set(path)
    assert {n["layer"] for n in lineage.as_json(around)["nodes"]} == {
        "table", "transformation", "view", "service", "model",
    }  # fmt: skip
    draw(graph, tmp_path / "lineage.png")
    picture = matplotlib.image.imread(tmp_path / "lineage.png")
    assert picture.shape[1] > picture.shape[0] > 100
    assert len({tuple(p) for p in picture[::5, ::5, :3].reshape(-1, 3).tolist()}) > 5
    with pytest.raises(StoreError, match="nearest: shopping"):
        lineage.lineage(shop.folder, models(), "shoppin")


def test_lineage_marks_a_model_that_could_not_be_served(shop: Registry) -> None:
    assert "! shopping: trained on version 2, registered is version 1" in lineage.as_text(
        lineage.lineage(shop.folder, models(2))
    )
    remove(shop.store, shop.folder, "shop_v1", ANN, TERMS)
    assert "shop_v1  (not registered)" in lineage.as_text(lineage.lineage(shop.folder, models()))
