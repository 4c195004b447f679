"""Which models may be served on which registry."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from feature_repo.registry.contract import FeatureVersionError, require_same, view_versions
from feature_repo.registry.trained import code_versions
from feature_repo.store import StoreError
from tests.feature_repo.registry.conftest import SPEND, VIEWS, Registry, a_view


def test_a_model_may_be_served_on_what_it_was_trained_on(registry: Registry) -> None:
    registry.apply(a_view(), services=("shop_v1",))
    trained = view_versions(registry.folder, "shop_v1")
    assert trained["shopping"]["version"] == 1
    assert trained["shopping"]["features"] == {"views": "Int64", "spend": "Float64"}
    assert require_same("m 1", trained, registry.folder, "shop_v1") == []
    more = a_view(VIEWS, SPEND, replace(VIEWS, name="orders"))
    registry.apply(more, services=("shop_v1",))
    assert view_versions(registry.folder, "shop_v1") != trained
    assert require_same("m 1", trained, registry.folder, "shop_v1") == [], "a feature more is fine"


def test_other_code_is_told_and_is_no_obstacle(
    local: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.apply(a_view(), services=("shop_v1",))
    trained = view_versions(local.folder, "shop_v1")
    monkeypatch.setattr("feature_repo.view.View.code", lambda _: "other = 1")
    local.apply(a_view(), services=("shop_v1",))
    (told,) = require_same("m 1", trained, local.folder, "shop_v1")
    assert told.startswith("view shopping: trained with code ")


def changed(trained: dict[str, Any], **values: Any) -> dict[str, Any]:
    other = copy.deepcopy(trained)
    other["shopping"] |= values
    return other


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"version": 2}, "view shopping: wanted version 2, found version 1"),
        (
            {"schema": "x", "features": {"spend": "Int64", "gone": "String"}},
            "spend is Float64, the model's is Int64, gone is not there, the model's is String",
        ),
        ({"schema": "x", "key": "customer_id"}, "its key is user_id, the model's is customer_id"),
    ],
)
def test_another_version_or_schema_is_refused(
    local: Registry, values: dict[str, Any], message: str
) -> None:
    local.apply(a_view(), services=("shop_v1",))
    wanted = changed(view_versions(local.folder, "shop_v1"), **values)
    with pytest.raises(FeatureVersionError) as refused:
        require_same("recommender 7", wanted, local.folder, "shop_v1")
    assert message in str(refused.value)
    assert "model recommender 7 was trained on other versions of shop_v1" in str(refused.value)
    assert "Train the model again" in str(refused.value)


def test_a_schema_alone_must_be_the_same(local: Registry) -> None:
    local.apply(a_view(), services=("shop_v1",))
    with pytest.raises(FeatureVersionError, match="version 1 with schema x, found schema"):
        require_same("m 1", {"shopping": {"version": 1, "schema": "x"}}, local.folder, "shop_v1")


def test_a_store_without_the_view_says_how_to_register_it(local: Registry) -> None:
    wanted = {"shopping": {"version": 1, "schema": "x"}}
    local.apply(a_view(), services=("shop_v1",))
    wanted["basket"] = wanted.pop("shopping")
    with pytest.raises(FeatureVersionError, match=r"found none; register it with .*materialize"):
        require_same("m 1", wanted, local.folder, "shop_v1")


def test_a_store_without_the_service_is_not_said_to_lack_its_views(local: Registry) -> None:
    local.apply(a_view(), services=("shop_v1",))
    wanted = {"shopping": {"version": 1, "schema": "x"}}
    with pytest.raises(FeatureVersionError, match=r"service shop_v2, which .*does not have") as e:
        require_same("m 1", wanted, local.folder, "shop_v2")
    assert "view shopping" not in str(e.value)


def test_a_training_names_what_the_code_has(local: Registry) -> None:
    found = code_versions("recommender_v1")
    assert found["user_history"]["version"] == 1
    assert found["user_history"]["features"]["item_ids"] == "Array(String)"
    assert set(code_versions("ranking_v1")) >= {"user_history", "purchase_context"}
    with pytest.raises(StoreError, match="nearest: recommender_v1"):
        code_versions("recomender_v1")


def test_registered_and_trained_agree(local: Registry) -> None:
    from feature_repo.registry.apply import apply
    from feature_repo.registry.declaration import declared
    from tests.feature_repo.registry.conftest import ANN, TERMS

    apply(local.store, local.folder, declared(), ANN, TERMS)
    for service in ("recommender_v1", "ranking_v1", "anomaly_v1"):
        assert require_same("m 1", code_versions(service), local.folder, service) == []
