"""MovieLens likes: attributes, and statistics of strictly earlier moments."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from models.recommender.interactions import DataError
from models.recommender.ranking.readers.movielens import MovieLensLikes

RATINGS = [  # user, item, stars, time; the first two of one page
    ("u1", "a", 5, 100), ("u1", "b", 2, 100), ("u1", "c", 4, 200), ("u2", "a", 4, 300),
    ("u1", "d", 1, 300), ("u2", "b", 5, 400),
]  # fmt: skip


def folder(path: Path, form: str) -> Path:
    path.mkdir()
    lines = ["\t".join(map(str, r)) for r in RATINGS]
    if form == "recbole":
        (path / "x.inter").write_text("\n".join(["u\ti\tr\tt", *lines]))
        (path / "x.user").write_text("id\tage\tg\to\tz\nu1\t24\tM\ttechnician\t85711\n")
        (path / "x.item").write_text(
            "id\ttitle\tyear\tclass\na\tToy Story\t1995\tAnimation Comedy\nb\tIl Postino\t\t\n"
        )
    else:
        (path / "u.data").write_text("\n".join(lines))
        (path / "u.user").write_text("u1|24|M|technician|85711\n")
        flags = lambda *on: "|".join("1" if n in on else "0" for n in range(19))  # noqa: E731
        (path / "u.item").write_bytes(
            f"a|Toy Story (1995)|01-Jan-1995||http://x|{flags(3, 5)}\n"
            f"b|Il Postino|||http://y|{flags()}\n".encode("latin-1")
        )
    return path


@pytest.mark.parametrize("form", ["recbole", "grouplens"])
def test_what_was_known_before_each_moment(tmp_path: Path, form: str) -> None:
    rows = MovieLensLikes(folder(tmp_path / "ml", form), tmp_path / "rejects.csv").read().frame
    assert rows.select("user_id", "item_id").rows() == [r[:2] for r in RATINGS]
    assert rows["label"].to_list() == [1, 0, 1, 1, 0, 1]
    assert rows["user_ratings"].to_list() == [0, 0, 2, 0, 3, 1]
    assert rows["user_like_rate"].to_list() == [None, None, 0.5, None, 0.6, 2 / 3]
    assert rows["user_mean"].to_list() == [None, None, 14 / 4, None, 18 / 5, 11 / 3]
    assert rows["item_ratings"].to_list() == [0, 0, 0, 1, 0, 1]
    assert rows["item_like_rate"].to_list() == [None, None, None, 2 / 3, None, 1 / 3]
    assert rows["liked_items"].to_list() == [[], [], ["a"], [], ["a", "c"], ["a"]]
    assert rows["other_items"].to_list() == [[], [], ["b"], [], ["b"], []]
    assert rows["age"].to_list() == [24, 24, 24, None, 24, None]
    assert rows["occupation"].to_list()[3] is None, "u2 has no attributes"
    assert rows["release_year"].to_list()[:3] == [1995, None, None]
    assert rows["title_words"].to_list()[0] == ["toy", "story"]
    assert sorted(rows["genres"].to_list()[0]) == ["Animation", "Comedy"]


def test_histories_keep_the_newest(tmp_path: Path) -> None:
    reader = MovieLensLikes(folder(tmp_path / "ml", "recbole"), tmp_path / "r.csv", history=1)
    assert reader.read().frame["liked_items"].to_list()[4] == ["c"]


def test_malformed_attributes_are_set_aside(tmp_path: Path) -> None:
    path = folder(tmp_path / "ml", "recbole")
    with (path / "x.user").open("a") as file:
        file.write("u2\t53\n")
    with pytest.raises(DataError, match="1 × expected 5 fields"):
        MovieLensLikes(path, tmp_path / "rejects.csv").read()
    rows = MovieLensLikes(path, tmp_path / "rejects.csv", max_reject_share=0.5).read().frame
    assert rows["age"].to_list() == [24, 24, 24, None, 24, None]
    aside = pl.read_csv(tmp_path / "rejects_x.user.csv")
    assert aside["line"].to_list() == [3]


@pytest.mark.realdata
def test_the_real_files(real_data: Path, tmp_path: Path) -> None:
    rows = MovieLensLikes(real_data / "movielens-100k", tmp_path / "rejects.csv").read().frame
    assert len(rows) == 100_000
    assert rows["label"].sum() == 55_375
    assert rows["age"].null_count() == 0
    assert rows["timestamp"].is_sorted()
    assert not list(tmp_path.iterdir()), "no row is malformed"
