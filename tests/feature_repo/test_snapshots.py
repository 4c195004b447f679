"""Training sets with a manifest: taken, verified, damaged and rebuilt on a real store."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from feature_repo.content import content_hash
from feature_repo.entity_frame import EntityFrameError
from feature_repo.offline.asof import JoinError
from feature_repo.registry.author import Author
from feature_repo.snapshot_query import Query
from feature_repo.snapshots import SnapshotError, read_manifest, take, verify
from feature_repo.sources import Frame, WarehouseTable
from feature_repo.store import StoreError, open_store
from tests.feature_repo.stores import materialization

START = datetime(2026, 1, 1, tzinfo=UTC)
REFS = ["user_history:item_ids", "user_statistics:views_7d", "user_statistics:spend_30d",
        "purchase_context:price_to_usual"]  # fmt: skip
WHO = Author("ann", "a test")


def events(days: int) -> pl.DataFrame:
    """Each of five users views an item every day and orders it on every second one."""
    rows = [
        (f"u{u}", f"i{(u + d) % 7}", event, 2.0 + u, 1, START + timedelta(days=d, hours=u))
        for d in range(days)
        for u in range(5)
        for event in ("Product Viewed", "Order Completed")[: 1 + d % 2]
    ]
    names = ["user_id", "item_id", "event", "price", "quantity", "timestamp"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))


def materialize(folder: Path, days: int) -> None:
    frame = events(days)
    for (day,), part in frame.group_by(pl.col("timestamp").dt.date()):
        path = folder.parent / "events" / f"date={day}" / "part-0.parquet"
        if not path.exists():  # written again, it would be computed again
            path.parent.mkdir(parents=True)
            part.write_parquet(path)
    made = materialization(folder)
    table = frame.select("user_id", "item_id", "timestamp").to_arrow()
    made(
        {"interactions": Frame(table), "events": WarehouseTable(folder.parent / "events")},
        only=["user_history", "user_statistics", "item_statistics"],
    )


class Shop(NamedTuple):
    folder: Path
    entities: Path
    snapshot: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A store of ten days, and one snapshot of it."""
    root = tmp_path_factory.mktemp("shop")
    materialize(root / "features", 10)
    entities = root / "entities.csv"
    entities.write_text(
        "user_id,item_id,event_timestamp,offered_price,label\n"
        "u1,i2,2026-01-05T00:00:00Z,4.5,1\n"
        "u2,i3,2026-01-06 14:00:00+02:00,,\n"
        "nobody,i3,2026-01-06T12:00:00Z,2,0\n"
        "u1,i2,2026-01-05T00:00:00Z,4.5,1\n"
    )
    shop = Shop(root / "features", entities, root / "snapshot")
    snap(shop, shop.snapshot)
    return shop


def query(shop: Shop, *refs: str, service: str | None = None, full_names: bool = False) -> Query:
    return Query.of(
        shop.folder, service=service, refs=refs, full_names=full_names, known_only=False
    )


def snap(shop: Shop, output: Path, entities: Path | None = None, *refs: str) -> dict[str, Any]:
    asked = query(shop, *(refs or REFS))
    return take(
        open_store(shop.folder), shop.folder, "s", entities or shop.entities, output, asked, WHO
    )


@pytest.fixture
def shop(made: Shop, tmp_path: Path) -> Shop:
    """A copy that a test may change; its store is the copy's own."""
    root = tmp_path / "copy"
    shutil.copytree(made.folder.parent, root)
    copied = Shop(root / "features", root / "entities.csv", root / "snapshot")
    settings = copied.folder / "feature_store.yaml"
    settings.write_text(settings.read_text().replace(str(made.folder), str(copied.folder)))
    materialize(copied.folder, 10)  # Feast's sources hold absolute paths
    return copied


def test_a_snapshot_holds_the_rows_and_where_they_came_from(made: Shop) -> None:
    rows = pl.read_parquet(made.snapshot / "data.parquet")
    assert rows["user_id"].to_list() == ["u1", "u2", "nobody", "u1"]
    assert rows["label"].to_list() == [1, None, 0, 1], "other columns pass through, typed"
    # Days 1 to 4 are over at midnight of the fifth: four views, and two orders of 3.0 each.
    assert rows["views_7d"].to_list() == [4, 5, None, 4]
    assert rows["spend_30d"].to_list() == [6.0, 8.0, None, 6.0]
    assert rows["price_to_usual"].to_list() == [1.5, None, None, 1.5]
    assert rows["item_ids"].to_list()[2] is None
    manifest = read_manifest(made.snapshot)
    assert manifest["rows"] == 4
    assert manifest["content"] == content_hash(rows)[0]
    assert (manifest["by"], manifest["why"]) == ("ann", "a test")
    assert manifest["query"]["features"] == REFS
    views = manifest["views"]
    assert set(views) == {"user_history", "user_statistics", "item_statistics", "purchase_context"}
    statistics = views["user_statistics"]
    assert (statistics["version"], statistics["revision"]) == (1, 1)
    assert statistics["schema"]
    assert statistics["code"]
    assert statistics["until"] == "2026-01-06"
    assert set(statistics["files"]) == {f"day=2026-01-0{d}/part-0.parquet" for d in range(1, 7)}
    assert statistics["computations"] != views["user_history"]["computations"]


def test_an_intact_snapshot_is_verified_and_rebuilt(made: Shop) -> None:
    found = verify(open_store(made.folder), made.folder, made.snapshot, rebuild=True)
    assert (found.damage, found.obstacles, found.differences) == ([], [], [])


def test_a_changed_byte_is_named(made: Shop, tmp_path: Path) -> None:
    copy = tmp_path / "snapshot"
    shutil.copytree(made.snapshot, copy)
    data = copy / "data.parquet"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    damage = verify(open_store(made.folder), made.folder, copy).damage
    assert damage
    assert all(text.startswith("data.parquet was ") for text in damage)


def test_a_changed_value_names_its_column(made: Shop, tmp_path: Path) -> None:
    copy = tmp_path / "snapshot"
    shutil.copytree(made.snapshot, copy)
    rows = pl.read_parquet(copy / "data.parquet")
    rows.with_columns(pl.col("label") + 1).write_parquet(copy / "data.parquet")
    (damage,) = verify(open_store(made.folder), made.folder, copy).damage
    assert damage == "data.parquet was changed: values of column label are others"
    rows.head(3).write_parquet(copy / "data.parquet")
    (damage,) = verify(open_store(made.folder), made.folder, copy).damage
    assert damage == "data.parquet was changed: 3 rows, the manifest says 4"
    rows.with_columns(pl.col("label").cast(pl.Int32)).write_parquet(copy / "data.parquet")
    (damage,) = verify(open_store(made.folder), made.folder, copy).damage
    assert damage.endswith("column label is int32, the manifest says int64")


def test_other_bytes_of_the_same_rows_are_told_apart(made: Shop, tmp_path: Path) -> None:
    copy = tmp_path / "snapshot"
    shutil.copytree(made.snapshot, copy)
    rows = pl.read_parquet(copy / "data.parquet")
    rows.write_parquet(copy / "data.parquet", compression="gzip", row_group_size=1)
    (damage,) = verify(open_store(made.folder), made.folder, copy).damage
    assert damage == "data.parquet was written anew: other bytes, though with the same rows"


def test_an_edited_manifest_is_noticed(made: Shop, tmp_path: Path) -> None:
    copy = tmp_path / "snapshot"
    shutil.copytree(made.snapshot, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["by"] = "somebody else"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (damage,) = verify(open_store(made.folder), made.folder, copy).damage
    assert damage == "manifest.json was edited: its seal does not match what it says"
    (copy / "manifest.json").write_text("{")
    with pytest.raises(SnapshotError, match="not JSON"):
        verify(open_store(made.folder), made.folder, copy)
    with pytest.raises(SnapshotError, match=r"no manifest\.json; give a snapshot's folder"):
        verify(open_store(made.folder), made.folder, tmp_path)


def test_later_days_change_nothing(shop: Shop) -> None:
    materialize(shop.folder, 12)
    snap(shop, shop.folder.parent / "again")
    materialize(shop.folder, 14)
    found = verify(open_store(shop.folder), shop.folder, shop.folder.parent / "again", rebuild=True)
    assert (found.damage, found.obstacles, found.differences) == ([], [], [])


def test_a_rebuild_names_view_feature_and_rows_that_changed(shop: Shop) -> None:
    output = shop.folder.parent / "again"
    snap(shop, output)
    file = shop.folder / "offline" / "user_statistics" / "day=2026-01-04" / "part-0.parquet"
    rows = pl.read_parquet(file, hive_partitioning=False)
    more = pl.when(pl.col("user_id") == "u1").then(9).otherwise(pl.col("views_7d"))
    rows.with_columns(more.cast(pl.Int64).alias("views_7d")).write_parquet(file)
    found = verify(open_store(shop.folder), shop.folder, output, rebuild=True)
    assert found.damage == []
    assert found.obstacles == [
        "view user_statistics: 1 offline files changed (day=2026-01-04/part-0.parquet)"
    ]
    assert found.differences == [
        "view user_statistics: views_7d differs in 2 of 4 rows",
        "2 of 4 rows differ in all",
    ]


def test_a_half_written_file_is_named(shop: Shop) -> None:
    file = shop.folder / "offline" / "user_statistics" / "day=2026-01-03" / "part-0.parquet"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(StoreError) as refused:
        snap(shop, shop.folder.parent / "again")
    assert f"view user_statistics: {file} is not a whole Parquet file" in str(refused.value)
    assert "scripts/materialize.py" in str(refused.value)
    assert not (shop.folder.parent / "again").exists()


def test_a_service_gives_its_features_and_an_unknown_name_the_nearest(made: Shop) -> None:
    assert query(made, service="recommender_v1").refs == (
        "user_history:item_ids",
        "user_history:length",
    )
    for given, message in (
        ({"service": "recomender_v1"}, "no feature service 'recomender_v1'; nearest: recommender"),
        ({}, "a service or features are needed; services: recommender_v1"),
    ):
        with pytest.raises(StoreError, match=message):
            query(made, **given)
    for ref, message in (
        ("user_statistic:views_7d", "no view 'user_statistic'; nearest: user_statistics"),
        ("user_statistics_v2:views_7d", "no view 'user_statistics_v2'; nearest: user_statistics"),
        ("user_statistics:view_7d", "no feature 'view_7d'; nearest: views_7d"),
        ("views_7d", "must be written view:feature"),
    ):
        with pytest.raises(StoreError, match=message):
            query(made, ref)


def test_full_names_tell_features_of_one_name_apart(made: Shop, tmp_path: Path) -> None:
    entities = tmp_path / "e.csv"
    entities.write_text("user_id,length,event_timestamp\nu1,3,2026-01-05T00:00:00Z\n")
    with pytest.raises(StoreError, match=r"several columns are called length; full_names=true"):
        snap(made, tmp_path / "s", entities, "user_history:length")
    asked = query(made, "user_history:length", full_names=True)
    take(open_store(made.folder), made.folder, "s", entities, tmp_path / "s", asked, WHO)
    assert pl.read_parquet(tmp_path / "s" / "data.parquet")["user_history__length"].item() == 4


CSV = "user_id,item_id,event_timestamp,offered_price\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CSV + "u1,i1,2026-01-05T00:00:00,1\n", r"event_timestamp has no time zone \(2026-01-05"),
        (CSV + "u1,i1,,1\n", r"event_timestamp is null in 1 of 1 rows \(first: row 0\)"),
        (CSV + "u1,i1,yesterdayZ,1\n", r"'yesterdayZ' in row 0 is no time"),
        (
            CSV + "u1,i1,2026-01-05T00:00:00Z,cheap\n",
            "offered_price is String; it must be a number",
        ),
        (
            "user,item_id,event_timestamp,offered_price\n",
            r"no column user_id \(is it user\?\), the",
        ),
        ("user_id,item_id,event_timestamp\n", "no column offered_price, which purchase_context"),
        ("user_id,item_id,offered_price\nu1,i1,2\n", "no column event_timestamp"),
    ],
)
def test_bad_entities_are_named(made: Shop, tmp_path: Path, text: str, message: str) -> None:
    entities = tmp_path / "e.csv"
    entities.write_text(text)
    with pytest.raises(EntityFrameError, match=message):
        snap(made, tmp_path / "s", entities)
    assert not (tmp_path / "s").exists()


def frame(**changes: Any) -> pl.DataFrame:
    columns = {
        "user_id": ["u1"],
        "item_id": ["i1"],
        "event_timestamp": pl.Series([START + timedelta(days=4)], dtype=pl.Datetime("us", "UTC")),
        "offered_price": [1.0],
    }
    return pl.DataFrame({**columns, **changes})


def test_bad_entities_of_parquet_are_named(made: Shop, tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    naive = pl.Series([datetime(2026, 1, 5)], dtype=pl.Datetime("us"))
    fine = (
        pl.Series([1_767_571_200_000_000_001]).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    )
    for bad, message in (
        (frame(event_timestamp=naive), "event_timestamp has no time zone"),
        (frame(event_timestamp=fine), "row 0 is finer than a microsecond"),
        (frame(event_timestamp=["2026-01-05"]), "no time zone"),
        (frame(event_timestamp=[5]), "event_timestamp is Int64; it must be a time"),
    ):
        bad.write_parquet(path)
        with pytest.raises(EntityFrameError, match=message):
            snap(made, tmp_path / "s", path)
    frame(user_id=[1]).write_parquet(path)
    with pytest.raises(
        JoinError, match=r"key user_id of the entity frame is Int64, but user_id of"
    ):
        snap(made, tmp_path / "s", path)
    frame().write_parquet(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(EntityFrameError, match="not a whole Parquet file"):
        snap(made, tmp_path / "s", path)
    with pytest.raises(EntityFrameError, match="no such file"):
        snap(made, tmp_path / "s", tmp_path / "absent.csv")
    (tmp_path / "e.txt").write_text("")
    with pytest.raises(EntityFrameError, match=r"a \.txt; it must be one of \.csv, \.parquet"):
        snap(made, tmp_path / "s", tmp_path / "e.txt")


def test_nanoseconds_that_are_whole_microseconds_are_fine(made: Shop, tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    frame().with_columns(pl.col("event_timestamp").dt.cast_time_unit("ns")).write_parquet(path)
    assert snap(made, tmp_path / "s", path)["rows"] == 1


def test_a_snapshot_is_never_overwritten(made: Shop) -> None:
    with pytest.raises(SnapshotError, match="exists; a snapshot is never overwritten"):
        snap(made, made.snapshot)


def test_the_content_hash_is_of_values_and_types_only(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "n": pl.Series([1, None, 3], dtype=pl.Int64),
            "x": [0.5, float("nan"), None],
            "t": ["a", None, "ü"],
            "l": [["a", None], None, []],
            "s": [{"p": 1}, {"p": 2}, None],
            "b": [True, None, False],
            "at": pl.Series([START, None, START], dtype=pl.Datetime("us", "UTC")),
        }
    )
    code = content_hash(rows)[0]
    rows.write_parquet(tmp_path / "a.parquet", compression="uncompressed", row_group_size=1)
    assert content_hash(pl.read_parquet(tmp_path / "a.parquet"))[0] == code
    assert content_hash(pl.concat([rows[:1], rows[1:]]))[0] == code
    changes = [
        pl.col("n").cast(pl.Int32),
        pl.col("n").fill_null(0),
        pl.col("t").fill_null(""),
        pl.col("l").fill_null([]),
        pl.col("x").fill_nan(0.0),
        pl.col("at").dt.cast_time_unit("ms"),
        pl.col("b").fill_null(False),
        pl.col("n").alias("m"),
    ]
    others = [content_hash(rows.with_columns(change))[0] for change in changes]
    others += [content_hash(rows[::-1])[0], content_hash(rows[:2])[0]]
    assert len({code, *others}) == 1 + len(others)
    assert content_hash(pl.DataFrame({"t": ["ab", "c"]})) != content_hash(
        pl.DataFrame({"t": ["a", "bc"]})
    )
