"""Every format, good rows and bad."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from models.recommender.interactions import DataError
from models.recommender.readers.files import MissingInputError
from models.recommender.readers.movielens import MovieLensReader
from models.recommender.readers.sequences import SequenceReader
from models.recommender.readers.table import TableReader
from models.recommender.readers.warehouse import WarehouseReader

COLUMNS = ["user_id", "item_id", "rating", "timestamp"]


def pairs(frame: pl.DataFrame) -> list[tuple[str, str]]:
    assert frame.columns == COLUMNS
    assert frame["timestamp"].dtype == pl.Datetime("us", "UTC")
    return frame.select("user_id", "item_id").rows()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.data", "1\t10\t4\t100\n1\t11\t3.5\t200\n"),
        ("x.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
         "1\t10\t4\t100\n1\t11\t3.5\t200\n"),
        ("ratings.dat", "1::10::4::100\n1::11::3.5::200\n"),
        ("ratings.csv", "userId,movieId,rating,timestamp\r\n1,10,4,100\r\n1,11,3.5,200\r\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by_folder", [True, False])
def test_movielens_forms(tmp_path: Path, name: str, content: str, by_folder: bool) -> None:
    path = tmp_path / name
    path.write_text(content)
    frame = MovieLensReader(tmp_path if by_folder else path, tmp_path / "rejects.csv").read()
    assert pairs(frame) == [("1", "10"), ("1", "11")]
    assert frame["rating"].to_list() == [4.0, 3.5]
    assert frame["timestamp"][0] == datetime(1970, 1, 1, 0, 1, 40, tzinfo=UTC)
    assert not (tmp_path / "rejects.csv").exists()


def test_movielens_minimum_rating(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t10\t4\t1\n1\t11\t3\t2\n")
    reader = MovieLensReader(tmp_path, tmp_path / "r.csv", min_rating=4)
    assert pairs(reader.read()) == [("1", "10")]


def test_movielens_sequence_form_and_its_incomplete_users(tmp_path: Path) -> None:
    (tmp_path / "ml-1m.txt").write_text("1 5\n1 6\n2 5\n")
    (tmp_path / "incomplete_users.txt").write_text("2\n")
    reader = MovieLensReader(tmp_path, tmp_path / "r.csv")
    assert pairs(reader.read()) == [("1", "5"), ("1", "6"), ("2", "5")]
    assert reader.exclude_from_metrics == tmp_path / "incomplete_users.txt"


@pytest.mark.parametrize("content", ["1 5\n1 6\n2 7\n", "1 5 6\n2 7\n", "1\t5  6 \r\n\n2 7\r\n"])
def test_sequences_in_both_forms(tmp_path: Path, content: str) -> None:
    path = tmp_path / "s.txt"
    path.write_text(content, newline="")
    frame = SequenceReader(path, tmp_path / "r.csv").read()
    assert pairs(frame) == [("1", "5"), ("1", "6"), ("2", "7")]
    assert frame["timestamp"].is_sorted()


def test_gzip_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "s.txt.gz"
    path.write_bytes(gzip.compress(b"1 5\n1 6\n"))
    assert len(SequenceReader(path, tmp_path / "r.csv").read()) == 2


def test_bad_rows_are_set_aside_with_line_and_reason(tmp_path: Path) -> None:
    rows = [f"{n}::10::4::100" for n in range(1, 96)]
    rows += [
        "1::10::4",
        "1::10::x::1",
        "::10::4::1",
        "1::::4::1",
        "1::10::4::never",
        "1::2::3::4::5",
    ]
    rows += ["1::10::nan::1", "1::10::4::99999999999999999"]
    (tmp_path / "ratings.dat").write_text("\n".join(rows))
    rejects = tmp_path / "rejects.csv"
    frame = MovieLensReader(tmp_path, rejects, max_reject_share=0.1).read()
    assert len(frame) == 95
    listed = pl.read_csv(rejects)
    assert listed["line"].to_list() == list(range(96, 104))
    assert listed["reason"].to_list() == [
        "expected 4 fields separated by '::'",
        "rating is not a number",
        "empty user id",
        "empty item id",
        "bad time (expected seconds since 1970)",
        "expected 4 fields separated by '::'",
        "rating is not a number",
        "bad time (expected seconds since 1970)",
    ]
    assert listed["text"][0] == "1::10::4"


def test_too_many_bad_rows_fail_and_say_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::10::4::1\n1::10::x::1\n")
    rejects = tmp_path / "rejects.csv"
    with pytest.raises(DataError, match=r"1 of 2 rows rejected \(1 × rating.*50\.0%.*1\.0%"):
        MovieLensReader(tmp_path, rejects).read()
    assert rejects.exists()


def test_ragged_sequences(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    path.write_text("1 5 6\n2\n3 7\n")
    frame = SequenceReader(path, tmp_path / "r.csv", max_reject_share=0.5).read()
    assert pairs(frame) == [("1", "5"), ("1", "6"), ("3", "7")]
    assert pl.read_csv(tmp_path / "r.csv")["reason"].to_list() == ["no item"]


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no such file.*ratings\.dat"):
        MovieLensReader(tmp_path / "absent", tmp_path / "r.csv").read()
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(MissingInputError, match=r"holds none of .*notes\.md"):
        MovieLensReader(tmp_path, tmp_path / "r.csv").read()
    (tmp_path / "u.data").write_text("")
    with pytest.raises(DataError, match="empty"):
        MovieLensReader(tmp_path, tmp_path / "r.csv").read()


MAP = {"user_id": "who", "item_id": "what", "rating": None, "timestamp": "when"}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_tables_by_column_names(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame(
        {"what": ["a", 'b, "c"'], "who": ["1", "2"], "when": ["2026-01-01T00:00:00Z"] * 2}
    )
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="," if suffix == "csv" else "\t")
    read = TableReader(path, MAP, tmp_path / "r.csv", time_unit="iso").read()
    assert pairs(read) == [("1", "a"), ("2", 'b, "c"')]
    assert read["timestamp"][0] == datetime(2026, 1, 1, tzinfo=UTC)


def test_an_empty_table_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("")
    with pytest.raises(DataError, match="an empty file; a first line with the columns' names"):
        TableReader(tmp_path / "t.csv", MAP, tmp_path / "r.csv").read()


def test_tables_reject_wrong_arity_and_bad_values(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    good = "".join(f"u{n},i{n},{n}\n" for n in range(100))
    path.write_text("who,what,when\n" + good + "u1,i1\nu2,,5\nu3,i3,x\n")
    rejects = tmp_path / "r.csv"
    frame = TableReader(path, MAP, rejects, max_reject_share=0.1).read()
    assert len(frame) == 100
    assert sorted(pl.read_csv(rejects)["reason"].to_list()) == [
        "bad time (expected seconds since 1970, as data.reader.time_unit=s says)",
        "empty item id", "wrong number of fields",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_tables_list_rejects_by_the_line_that_an_editor_shows(tmp_path: Path, suffix: str) -> None:
    lines = [
        "who,what,when",
        "u1,i1,1",
        "",  # a blank line
        "u2,i2",
        '"u,3",i3,x',
        '"u4","i',  # a quoted line break
        '4",4',
        "u5,,5",
        "u6,i6,6,7",
        "u7,i7,y",
    ]
    path = tmp_path / f"t.{suffix}"
    text = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    rejects = tmp_path / "r.csv"
    frame = TableReader(path, MAP, rejects, max_reject_share=1.0).read()
    assert pairs(frame) == [("u1", "i1"), ("u4", "i\n4")]
    listed = pl.read_csv(rejects).sort("line")
    assert listed["line"].to_list() == [4, 5, 8, 9, 10]
    assert listed["text"].to_list() == ["u2,i2", "u,3,i3,x", "u5,,5", "u6,i6,6,7", "u7,i7,y"]


def test_a_folder_of_tables_is_read_whole(tmp_path: Path) -> None:
    for day, rows in (("01", ["a", "b"]), ("02", ["c", ""])):
        folder = tmp_path / "t" / f"date=2026-01-{day}"
        folder.mkdir(parents=True)
        frame = pl.DataFrame({"who": ["u"] * 2, "what": rows, "when": [1, 2]})
        frame.write_parquet(folder / "part.parquet")
    rejects = tmp_path / "r.csv"
    frame = TableReader(tmp_path / "t", MAP, rejects, max_reject_share=0.5).read()
    assert pairs(frame) == [("u", "a"), ("u", "b"), ("u", "c")]
    (bad,) = pl.read_csv(rejects).rows(named=True)
    assert bad["line"] == 2
    assert "2026-01-02" in bad["source"]


def test_several_candidates_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text("1 2\n")
    with pytest.raises(DataError, match=r"2 such files.*one\.txt.*two\.txt"):
        SequenceReader(tmp_path, tmp_path / "r.csv").read()


def test_iso_times_in_several_forms(tmp_path: Path) -> None:
    times = [
        "2026-01-01T12:00:00Z",
        "2026-01-01",
        "2026-01-01 12:00:00",
        "2026-01-01T13:00:00+01:00",
    ]
    path = tmp_path / "t.csv"
    path.write_text("who,what,when\n" + "".join(f"u,i{n},{t}\n" for n, t in enumerate(times)))
    read = TableReader(path, MAP, tmp_path / "r.csv", time_unit="iso").read()
    assert read["timestamp"].dt.hour().to_list() == [12, 0, 12, 12]


def test_an_unknown_time_unit_names_those_that_are_accepted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'minutes'; s, ms, us, iso"):
        TableReader(tmp_path, MAP, tmp_path / "r.csv", time_unit="minutes").read()  # type: ignore[arg-type]


def test_tables_name_a_missing_column_and_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("who,when\n1,2\n")
    with pytest.raises(DataError, match="no column 'what'"):
        TableReader(path, MAP, tmp_path / "r.csv").read()
    whole = tmp_path / "t.parquet"
    pl.DataFrame({"who": ["1"] * 1000}).write_parquet(whole)
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"t\.parquet: not a readable Parquet file"):
        TableReader(whole, MAP, tmp_path / "r.csv").read()


def events(folder: Path, rows: list[tuple[str, str, str | None, int]]) -> None:
    frame = pl.DataFrame(
        rows, schema=["event", "user_id", "item_id", "second"], orient="row"
    ).with_columns(
        pl.format("m{}", pl.int_range(pl.len())).alias("message_id"),
        (pl.col("second") * 1_000_000).cast(pl.Datetime("us", "UTC")).alias("timestamp"),
    )
    part = folder / "events" / "date=1970-01-01"
    part.mkdir(parents=True)
    frame.write_parquet(part / "part-0.parquet")


def test_warehouse_keeps_chosen_events_in_time_order(tmp_path: Path) -> None:
    view = "Product Viewed"
    rows = [(view, "u", "b", 2), (view, "u", "a", 1), (view, "u", "b", 3), ("Order", "u", "z", 4)]
    events(tmp_path, [*rows, (view, "v", None, 5)])
    frame = WarehouseReader(tmp_path, [view]).read()
    assert pairs(frame) == [("u", "a"), ("u", "b")]  # the repeated b counts once
    assert len(WarehouseReader(tmp_path, [view], collapse_repeats=False).read()) == 3
    with pytest.raises(DataError, match="none of the events"):
        WarehouseReader(tmp_path, ["Nothing"]).read()


def test_no_warehouse_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"scripts/simulate\.py"):
        WarehouseReader(tmp_path, ["x"]).read()


def test_ratings_off_the_scale_are_rejected_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "u.data"
    file.write_text("1\t2\t5\t1000000000\n1\t3\t0\t1000000000\n1\t4\t5.5\t1000000000\n")
    rejects = tmp_path / "r.csv"
    reader = MovieLensReader(file, rejects, max_reject_share=1.0, scale=[1, 5])
    assert pairs(reader.read()) == [("1", "2")]
    bad = pl.read_csv(rejects)
    assert bad["line"].to_list() == [2, 3]
    assert set(bad["reason"]) == {"rating outside the scale 1 to 5"}
    with pytest.raises(DataError, match=r"2 × rating outside the scale 1 to 5"):
        MovieLensReader(file, rejects, scale=[1, 5]).read()


def test_tables_keep_to_a_scale_and_ids_of_every_kind(tmp_path: Path) -> None:
    file = tmp_path / "ratings.csv"
    file.write_text(
        f"who,what,stars\n-5,{2**63 + 1},0.5\nanna,-1,9\n{2**64},x y,5\n", encoding="utf-8"
    )
    columns: dict[str, str | None] = {"user_id": "who", "item_id": "what", "rating": "stars"}
    reader = TableReader(file, columns, tmp_path / "r.csv", max_reject_share=0.5, scale=[0.5, 5.0])
    assert pairs(reader.read()) == [("-5", str(2**63 + 1)), (str(2**64), "x y")]
    assert "rating outside the scale 0.5 to 5" in (tmp_path / "r.csv").read_text()


@pytest.mark.parametrize("kind", [pl.Int64, pl.UInt64, pl.Float64, pl.Float32])
def test_whole_numbers_are_ids_as_they_would_be_written(
    kind: type[pl.DataType], tmp_path: Path
) -> None:
    frame = pl.DataFrame({"user_id": [7, 12], "item_id": [0, 3]}).cast(kind)
    frame.write_parquet(tmp_path / "ratings.parquet")
    columns: dict[str, str | None] = {"user_id": "user_id", "item_id": "item_id"}
    reader = TableReader(tmp_path / "ratings.parquet", columns, tmp_path / "r.csv")
    assert pairs(reader.read()) == [("7", "0"), ("12", "3")]


def test_floats_that_have_lost_digits_are_no_ids(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "user_id": [2.0**53, 2.0**53 + 2, None, float("nan"), -1.0, 0.5],
            "item_id": ["a", "b", "c", "d", "e", "f"],
        }
    )
    frame.write_parquet(tmp_path / "ratings.parquet")
    columns: dict[str, str | None] = {"user_id": "user_id", "item_id": "item_id"}
    reader = TableReader(
        tmp_path / "ratings.parquet", columns, tmp_path / "r.csv", max_reject_share=0.5
    )
    assert pairs(reader.read()) == [(str(2**53), "a"), ("-1", "e"), ("0.5", "f")]
    bad = pl.read_csv(tmp_path / "r.csv")
    assert bad["line"].to_list() == [2, 3, 4]
    assert "too large to be exact" in bad["reason"][0]
    assert bad["reason"].to_list()[1:] == ["empty user id", "empty user id"]
