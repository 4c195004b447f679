"""One door to Feast: revisions, refusals, restoring and removing, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from feature_repo.metadata import connect
from feature_repo.registry import apply as registry_apply
from feature_repo.registry import versions
from feature_repo.registry.apply import remove, restore
from feature_repo.registry.author import Author
from feature_repo.registry.compatibility import IncompatibleError
from feature_repo.registry.objects import registered
from feature_repo.store import StoreError, feast, open_store
from feature_repo.views import Float64, Int64
from tests.feature_repo.registry.conftest import ANN, SPEND, TERMS, VIEWS, Registry, a_view


def history(registry: Registry, name: str = "shopping") -> list[tuple[int, str, str]]:
    with connect(registry.folder).connect() as connection:
        found = versions.revisions(connection, name)
    return [(r.revision, r.action, r.state) for r in found]


def test_a_definition_is_recorded_once_and_each_change_as_a_revision(registry: Registry) -> None:
    registry.apply(a_view(), services=("shop_v1",))
    assert registry.apply(a_view(), services=("shop_v1",)).recorded == []
    orders = replace(VIEWS, name="orders", description="lines ordered")
    changed = a_view(VIEWS, SPEND, orders, ttl=timedelta(days=2), owner="shop team")
    bob = Author("bob", "orders matter")
    (revision,) = registry.apply(changed, services=("shop_v1",), who=bob).recorded
    assert (revision.version, revision.revision) == (1, 2)
    assert set(revision.changes) == {
        "feature orders added (Int64)",
        "ttl_s: 86400.0 → 172800.0",
        "owner: millrace → shop team",
    }
    with connect(registry.folder).connect() as connection:
        first, second = versions.revisions(connection, "shopping")
    assert (first.action, first.changed_by, first.why) == ("added", "ann", "a test")
    assert (second.changed_by, second.why) == ("bob", "orders matter")
    assert first.created_at < second.created_at
    assert "def user_counters" in first.code
    assert first.definition["features"][0]["lowest"] == 0
    assert first.schema_hash != second.schema_hash
    (view,) = open_store(registry.folder).list_feature_views()
    assert view.ttl == timedelta(days=2)
    assert {f.name for f in view.features} == {"views", "spend", "orders"}


def test_new_code_is_a_revision(local: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    local.apply(a_view())
    monkeypatch.setattr("feature_repo.view.View.code", lambda _: "other = 1")
    (revision,) = local.apply(a_view()).recorded
    assert revision.revision == 2
    assert revision.changes[0].startswith("code_hash: ")


KEY = feast().Entity(
    name="user", join_keys=["customer_id"], value_type=feast().ValueType.STRING, description="x"
)


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"features": (replace(VIEWS, dtype=Float64), SPEND)}, ["views: type Int64 → Float64"]),
        ({"features": (VIEWS,)}, ["feature spend removed\n"]),
        (
            {"features": (VIEWS, replace(SPEND, name="spent"))},
            ["feature spend removed (renamed to spent?)"],
        ),
        (
            {"entity": KEY},
            ["entity's join_key: user_id → customer_id", "feature_repo/entities.py"],
        ),
    ],
)
def test_a_breaking_change_is_refused_and_changes_nothing(
    local: Registry, change: dict[str, Any], reasons: list[str]
) -> None:
    local.apply(a_view())
    with pytest.raises(IncompatibleError) as refused:
        local.apply(a_view(**change))
    for reason in reasons:
        assert reason in str(refused.value)
    assert "Set version=2 on view shopping in feature_repo/views.py" in str(refused.value)
    assert "shopping_v2 beside shopping" in str(refused.value)
    assert history(local) == [(1, "added", "applied")]
    (view,) = open_store(local.folder).list_feature_views()
    assert {(f.name, str(f.dtype)) for f in view.features} == {
        ("views", "Int64"),
        ("spend", "Float64"),
    }


def test_a_new_version_stands_beside_the_old_one(registry: Registry) -> None:
    registry.apply(a_view(), services=("shop_v1",))
    done = registry.apply(a_view(VIEWS, version=2), services=("shop_v2",))
    assert done.older == ["shopping"]
    assert done.vanished == ["shop_v1"]
    store = open_store(registry.folder)
    assert {v.name for v in store.list_feature_views()} == {"shopping", "shopping_v2"}
    assert {s.name for s in store.list_feature_services()} == {"shop_v1", "shop_v2"}
    assert history(registry, "shopping_v2") == [(1, "added", "applied")]


def test_an_entity_of_another_key_must_not_take_the_name_of_a_kept_one(local: Registry) -> None:
    local.apply(a_view())
    with pytest.raises(IncompatibleError, match=r"shopping_v2: entity user has join_key customer"):
        local.apply(a_view(version=2, entity=KEY))


def test_a_service_may_gain_views_and_not_lose_them(local: Registry) -> None:
    other = a_view(name="other")
    local.apply(a_view(), services=("shop_v1",))
    local.apply(a_view(), other, services=("shop_v1",))
    with pytest.raises(IncompatibleError, match=r"(?s)shop_v1.*view other removed.*services\.py"):
        local.apply(a_view(), services=("shop_v1",))


def test_what_vanished_from_the_code_is_reported_and_stays(
    local: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    local.apply(a_view(), a_view(name="other"))
    assert local.apply(a_view()).vanished == ["other"]
    assert "other is registered but no longer in the code" in caplog.text
    assert "features.py remove view=other" in caplog.text
    assert {v.name for v in open_store(local.folder).list_feature_views()} == {"shopping", "other"}


def test_an_old_revision_can_be_restored(registry: Registry) -> None:
    registry.apply(a_view(), services=("shop_v1",))
    registry.apply(a_view(description="Other words.", ttl=timedelta(days=9)), services=("shop_v1",))
    new = restore(registry.store, registry.folder, "shopping", 1, Author("eve", "as before"), TERMS)
    assert (new.revision, new.action, new.changed_by, new.why) == (
        3,
        "restored",
        "eve",
        "as before",
    )
    (view,) = open_store(registry.folder).list_feature_views()
    assert (view.ttl, view.description) == (timedelta(days=1), "What a user bought.")
    with pytest.raises(StoreError, match="shopping is as in revision 1 already"):
        restore(registry.store, registry.folder, "shopping", 1, ANN, TERMS)


def test_restoring_goes_through_the_same_check(local: Registry) -> None:
    local.apply(a_view(VIEWS))
    local.apply(a_view(VIEWS, SPEND))
    with pytest.raises(IncompatibleError, match="feature spend removed"):
        restore(local.store, local.folder, "shopping", 1, ANN, TERMS)


def test_unknown_names_and_revisions_are_answered_with_those_that_there_are(
    local: Registry,
) -> None:
    local.apply(a_view())
    with pytest.raises(StoreError, match=r"no view or service 'shoping'; nearest: shopping"):
        restore(local.store, local.folder, "shoping", 1, ANN, TERMS)
    with pytest.raises(StoreError, match=r"shopping has no revision 7; there are 1"):
        restore(local.store, local.folder, "shopping", 7, ANN, TERMS)


def test_removing_keeps_the_history_and_what_uses_it_stands_in_the_way(registry: Registry) -> None:
    registry.apply(a_view(), services=("shop_v1",))
    with pytest.raises(StoreError, match="shopping is used by shop_v1"):
        remove(registry.store, registry.folder, "shopping", ANN, TERMS)
    remove(registry.store, registry.folder, "shop_v1", ANN, TERMS)
    remove(registry.store, registry.folder, "shopping", ANN, TERMS)
    store = open_store(registry.folder)
    assert store.list_feature_views() == store.list_feature_services() == []
    assert history(registry) == [(1, "added", "applied"), (2, "removed", "applied")]
    registry.apply(a_view(replace(VIEWS, dtype=Float64)))  # nobody reads it: nothing to break
    assert history(registry)[-1] == (3, "added", "applied")


class DiedError(Exception):
    """The process ends here."""


def test_an_apply_that_died_before_feast_had_it_is_abandoned_and_done_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.apply(a_view())

    def die(*_: Any, **__: Any) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(registry.store, "apply", die)
        with pytest.raises(DiedError):
            registry.apply(a_view(owner="shop team"))
    assert history(registry)[-1] == (2, "changed", "pending")
    with connect(registry.folder).connect() as connection:
        assert versions.current(connection)["shopping"].revision == 1, "pending is not current"
    done = registry.apply(a_view(owner="shop team"))
    assert [(r.revision, r.state) for r in done.settled] == [(2, "abandoned")]
    assert history(registry)[1:] == [(2, "changed", "abandoned"), (3, "changed", "applied")]
    assert open_store(registry.folder).get_feature_view("shopping").owner == "shop team"


def test_an_apply_that_died_after_feast_had_it_is_completed(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(registry_apply.versions, "settle", die)
        with pytest.raises(DiedError):
            registry.apply(a_view())
    assert history(registry) == [(1, "added", "pending")]
    done = registry.apply(a_view())
    assert [(r.revision, r.state) for r in done.settled] == [(1, "applied")]
    assert done.recorded == []
    assert history(registry) == [(1, "added", "applied")]


def test_feast_gets_back_what_it_lost(local: Registry) -> None:
    local.apply(a_view(), a_view(name="other"), services=("shop_v1",))
    store = open_store(local.folder)
    store.delete_feature_view("other")
    local.apply(a_view())
    assert set(registered(open_store(local.folder))) == {"shopping", "other", "shop_v1"}


def test_definitions_come_back_from_what_was_kept(local: Registry) -> None:
    """A view made from its kept definition is the view of the code, for Feast."""
    from feature_repo.registry.definition import as_view, of_view
    from feature_repo.views import VIEWS as SHIPPED

    for view in SHIPPED:
        kept = of_view(view)
        again = of_view(replace(as_view(kept), transformation=view.transformation))
        assert again.content == kept.content
        assert again.digest() == kept.digest()
    assert Int64 in {f.dtype for f in as_view(of_view(a_view())).features}
