"""`scripts/features.py` as people and machines call it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from feature_repo.metadata import connect
from feature_repo.registry import versions
from feature_repo.registry.author import author
from feature_repo.sources import Frame
from feature_repo.store import open_store
from feature_repo.views import USER_HISTORY
from models import artifact
from models.artifact import Signature
from scripts import features
from scripts.commands import CommandError, command_overrides
from tests.feature_repo.stores import materialization

COMMANDS = {"list": (), "search": ("text",), "describe": ("view",), "diff": ("view", "from")}


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        (["list"], ["command=list"]),
        (["describe", "user_history"], ["command=describe", "view=user_history"]),
        (["describe", "view=user_history"], ["command=describe", "view=user_history"]),
        (["describe", "a:b", "x=1"], ["command=describe", "view=a:b", "x=1"]),
        (["search", "money", "spent"], ["command=search", "text='money spent'"]),
        (["search", "it's 7d"], ["command=search", r"text='it\'s 7d'"]),
        (["diff", "a", "1"], ["command=diff", "view=a", "from='1'"]),
        (["list", "--cfg", "job"], ["command=list", "--cfg", "job"]),
        (["x=1", "describe", "a", "y=2"], ["command=describe", "view=a", "x=1", "y=2"]),
        (["--help"], ["--help"]),
    ],
)
def test_bare_words_are_the_command_and_its_values(words: list[str], overrides: list[str]) -> None:
    assert command_overrides(words, COMMANDS) == overrides


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["descrbe"], "no command 'descrbe'; nearest: describe"),
        (["xyz"], "no command 'xyz'; there are: list, search, describe, diff"),
        ([], "which command"),
        (["view=x"], "which command"),
        (["list", "more"], "list takes no word after it, but got 'more'"),
    ],
)
def test_a_wrong_word_is_named(words: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        command_overrides(words, COMMANDS)


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Answer]]:
    """Runs the script's own main in this process: importing Feast again takes seconds."""

    def run(*words: str) -> Answer:
        more = [f"paths.root={tmp_path}", f"output_dir={tmp_path / 'run'}"]
        monkeypatch.setattr(sys, "argv", ["features.py", *words, *more])
        try:
            features.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Answer(code, *capsys.readouterr())

    root = logging.getLogger()
    handlers = list(root.handlers)
    yield run
    root.handlers[:] = handlers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with user histories."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    rows = pl.DataFrame({"user_id": ["ann"], "item_id": ["i1"], "timestamp": [moment]})
    made = tmp_path / "data" / "features"
    table = rows.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC"))).to_arrow()
    materialization(made)({"interactions": Frame(table)}, by="ann", why="first")
    return made


def test_revisions_are_numbers(folder: Path, cli: Callable[..., Answer]) -> None:
    for words in (["diff", "from=a", "to=2"], ["restore", "revision=1.5", "why=x"]):
        answer = cli(words[0], "user_history", *words[1:])
        assert answer.code == 2, answer.err
        assert f"error: {words[1]}: revisions are whole numbers" in answer.err


def test_what_there_is_can_be_listed_found_and_described(
    folder: Path, cli: Callable[..., Answer]
) -> None:
    found = json.loads(cli("list", "format=json").out)
    assert {e["name"]: e["state"] for e in found if e["kind"] == "view"}[
        "user_history"
    ] == "current"
    assert "user_history" in cli("list").out
    assert "user_history:item_ids" in cli("search", "items", "touched").out
    described = cli("describe", "user_history")
    for text in (
        "What a user touched", "millrace", "interactions", "1 day", "2 days", "by ann: first",
        "feature_repo/transformations/user_history.py (code ", "Array(String)", "revision 1",
        "2026-01-01 00:00:00 UTC", "recommender_v1", "≥ 1, not null",
    ):  # fmt: skip
        assert text in described.out, text
    same = [cli(*words, "format=json").out for words in (
        ("describe", "user_history"), ("describe", "view=user_history"),
        ("command=describe", "view=user_history"),
    )]  # fmt: skip
    assert same[0] == same[1] == same[2]
    assert json.loads(same[0])["features"][1]["rows"] == 1


def test_mistakes_end_with_their_codes(folder: Path, cli: Callable[..., Answer]) -> None:
    for words, code, message in (
        (("descrbe",), 2, "no command 'descrbe'; nearest: describe"),
        (("describe",), 2, "describe needs view=…"),
        (("describe", "user_histry"), 66, "nearest: user_history"),
        (("restore", "user_history", "revision=1"), 2, "restore needs why=…"),
        (("restore", "user_history", "revision=9", "why=x"), 66, "no revision 9; there are 1"),
        (("list", "format=xml"), 2, "it is table or json"),
        (("list", "formt=json"), 2, "nearest valid: format"),
        (("apply", "views=[user_histry]", "why=x"), 66, "nearest: user_history"),
        (("lineage", "user_histry"), 66, "nearest: user_history"),
    ):
        answer = cli(*words)
        assert (answer.code, message in answer.err) == (code, True), (words, answer)
        assert "Traceback" not in answer.err


def test_without_a_store_it_says_how_to_make_one(cli: Callable[..., Answer]) -> None:
    answer = cli("list")
    assert answer.code == 66
    assert "scripts/materialize.py" in answer.err


def test_definitions_are_applied_changed_restored_and_removed(
    folder: Path, cli: Callable[..., Answer]
) -> None:
    applied = cli("apply", "by=bob", "why='all of them'")
    assert applied.code == 0, applied.err
    assert "telemetry_windows version 1, revision 1: applied" in applied.out
    assert cli("apply", "why=again").out == "nothing has changed\n"
    made = materialization(folder)
    other = replace(USER_HISTORY, owner="history team")
    made.register(open_store(folder), [other], author("eve", "a new owner"))
    history = cli("history", "user_history")
    for text in ("owner: millrace → history team", "eve", "a new owner", "ann", "first"):
        assert text in history.out, text
    assert "owner: millrace → history team" in cli("diff", "user_history", "from=1", "to=2").out
    restored = cli("restore", "user_history", "revision=1", "why=back")
    assert restored.code == 0, restored.err
    assert "revision 3: restored from revision 1" in restored.out
    assert "working tree" not in restored.err, "the code is that of the revision"
    removed = cli("remove", "anomaly_v1", "why='nobody uses it'")
    assert "removed from Feast; its history and offline rows stay" in removed.out
    assert "the code still has anomaly_v1" in removed.err
    assert "removed" in cli("history", "anomaly_v1").out


def test_restoring_warns_when_the_working_tree_has_other_code(
    folder: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("feature_repo.view.View.code", lambda _: "older = 1")
        materialization(folder).register(
            open_store(folder), [USER_HISTORY], author("eve", "as it was once")
        )
    materialization(folder).register(open_store(folder), [USER_HISTORY], author("eve", "now"))
    restored = cli("restore", "user_history", "revision=2", "why=back")
    assert restored.code == 0, restored.err
    assert "the working tree's code of user_history is" in restored.err
    assert "the next apply or materialization brings that back" in restored.err


def test_a_breaking_change_is_refused_before_anything_is_computed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feature_repo.registry.compatibility import IncompatibleError

    before = {f: f.stat().st_mtime_ns for f in (folder / "offline").rglob("*.parquet")}
    fewer = replace(USER_HISTORY, features=USER_HISTORY.features[:1])
    monkeypatch.setattr("feature_repo.materialization.VIEWS", (fewer,))
    monkeypatch.setattr("feature_repo.view.View.code", lambda _: "other = 1")
    with pytest.raises(IncompatibleError, match="feature length removed"):
        materialization(folder)({"interactions": Frame(pl.DataFrame(
            {"user_id": ["bob"], "item_id": ["i2"], "timestamp": [datetime(2026, 1, 2, tzinfo=UTC)]}
        ).to_arrow())})  # fmt: skip
    after = {f: f.stat().st_mtime_ns for f in (folder / "offline").rglob("*.parquet")}
    assert after == before


def test_lineage_reaches_the_artifact(
    folder: Path, cli: Callable[..., Answer], tmp_path: Path
) -> None:
    from feature_repo.registry.trained import code_versions

    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "model.onnx").write_bytes(b"graph")
    signature = Signature(
        "recommender", "20260101-000000-000", "recommendation", (), (), 20,
        feature_service="recommender_v1", features=code_versions("recommender_v1"),
    )  # fmt: skip
    artifact.write(parts, tmp_path / "artifacts", signature)
    broken = tmp_path / "artifacts" / "recommender" / "20260102-000000-000"
    broken.mkdir()
    (broken / "signature.json").write_text("{")
    picture = tmp_path / "lineage.png"
    answer = cli("lineage", f"output={picture}")
    assert answer.code == 0, answer.err
    assert "recommender  (20260101-000000-000, on user_history v1)  ← recommender_v1" in answer.out
    assert "not a signature" in answer.err
    assert picture.read_bytes().startswith(b"\x89PNG")
    graph = json.loads(cli("lineage", "user_history", "format=json").out)
    assert {n["label"] for n in graph["nodes"]} >= {"interactions", "user_history", "recommender"}


def test_a_snapshot_is_taken_and_verified(
    folder: Path, cli: Callable[..., Answer], tmp_path: Path
) -> None:
    entities = tmp_path / "e.csv"
    entities.write_text("user_id,event_timestamp\nann,2026-01-02T00:00:00Z\n")
    taken = cli(
        "snapshot", "first", f"entities={entities}", "service=recommender_v1",
        f"output={tmp_path / 's'}",
    )  # fmt: skip
    assert taken.code == 0, taken.err
    assert "1 rows, 4 columns" in taken.out
    verified = cli("verify", f"{tmp_path / 's'}", "rebuild=true")
    assert (verified.code, verified.out.splitlines()) == (
        0, ["intact", "can be rebuilt", "rebuilt: the same rows"],
    )  # fmt: skip
    data = tmp_path / "s" / "data.parquet"
    data.write_bytes(data.read_bytes()[:-1] + b"\0")
    damaged = cli("verify", f"snapshot={tmp_path / 's'}")
    assert damaged.code == 65
    assert "NOT INTACT" in damaged.out
    assert "data.parquet was changed" in damaged.err
    again = cli("snapshot", f"entities={entities}", "service=recommender_v1",
                f"output={tmp_path / 's'}")  # fmt: skip
    assert (again.code, "exists; a snapshot is never overwritten" in again.err) == (65, True)


def test_the_history_knows_who_and_why(folder: Path) -> None:
    with connect(folder).connect() as connection:
        (first, _) = versions.revisions(connection)
    assert (first.full_name, first.changed_by, first.why) == ("user_history", "ann", "first")
