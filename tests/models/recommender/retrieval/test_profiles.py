"""What is read of users: missing, unknown and odd values, and what a tower makes of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from models.recommender.attributes import AttributeTable
from models.recommender.histories import Histories
from models.recommender.interactions import DataError
from models.recommender.ranking.fields import FieldError
from models.recommender.retrieval.datamodule import OwnedRunBatches, OwnedRuns
from models.recommender.retrieval.profile_tower import ProfileTower
from models.recommender.retrieval.profiles import Profiles
from tests.models.recommender.retrieval.test_towers import D, model

IDS = pl.Series(["ann", "bob", "cem", "dot", "eve", "unheard"])
TRAINED = np.array([True, True, True, True, False, True])


def table(tmp_path: Path, **more: Any) -> AttributeTable:
    (tmp_path / "users.csv").write_text(
        "id,job,tags,age\n"
        "ann, nurse ,chess|tea,31\n"
        "bob,nurse,tea,abc\n"
        "cem,pilot,,45\n"
        "dot,nurse,chess||tea,inf\n"
        "eve,astronaut,tea,20\n"
    )
    settings: dict[str, Any] = {
        "path": tmp_path / "users.csv", "id": "id", "categories": ["job"], "numbers": ["age"],
        "rejects": tmp_path / "rejects.csv", "missing": tmp_path / "missing.csv",
    }  # fmt: skip
    return AttributeTable(**(settings | more))


def test_missing_rare_and_unseen_values_have_rows_of_their_own(tmp_path: Path) -> None:
    profiles = table(tmp_path).profiles(IDS, TRAINED)
    # nobody, ann, bob, cem (his job is one of a kind), dot, eve (her job is not in training), ∅
    assert profiles.columns["job"].tolist() == [1, 3, 3, 2, 3, 2, 1]
    age = profiles.columns["age"]
    assert age.isnan().tolist() == [True, False, True, False, True, False, True]
    assert (age[1].item(), age[3].item()) == (31, 45)
    assert (tmp_path / "missing.csv").read_text() == "id\nunheard\n"


def test_several_values_are_a_bag(tmp_path: Path) -> None:
    profiles = table(tmp_path, categories=["tags"], separator="|").profiles(IDS, TRAINED)
    tea, chess = 3, 4
    bags = [[n for n in row if n] for row in profiles.columns["tags"].tolist()]
    assert bags == [[1], [chess, tea], [tea], [1], [chess, tea], [tea], [1]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"texts": ["job"]}, r"texts of users are \['job'\]; user towers read categories and"),
        ({"features": {"city": "v:city"}}, "names the column 'city', which is neither among"),
        ({"categories": [], "numbers": []}, "users have no attributes to read"),
        ({"categories": ["shoe"]}, "has no column 'shoe'"),
        ({"numbers": ["job"]}, "column 'job' is among categories and numbers; name it in one"),
    ],
)
def test_settings_that_cannot_be_are_named(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        table(tmp_path, **settings).profiles(IDS, TRAINED)


def test_a_number_is_no_category(tmp_path: Path) -> None:
    rows = {"id": ["ann", "bob", "cem"], "born": [1.5, 2.5, None]}
    pl.DataFrame(rows).write_parquet(tmp_path / "users.parquet")
    read = table(tmp_path, path=tmp_path / "users.parquet", categories=["born"], numbers=[])
    with pytest.raises(FieldError, match=r"born is [12]\.5; a category is text, a whole number"):
        read.profiles(IDS, TRAINED)


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    made = table(tmp_path, categories=["job", "tags"], separator="|").profiles(IDS, TRAINED)
    return made


def tower(profiles: Profiles, **more: Any) -> ProfileTower:
    torch.manual_seed(0)
    return ProfileTower(profiles, **({"dim": D, "hidden": 8, "init_std": 1.0} | more))


def test_nobody_and_strange_values_are_as_good_as_nothing(profiles: Profiles) -> None:
    made = tower(profiles).eval()
    vectors = made(profiles.take(torch.arange(7)))
    assert torch.isfinite(vectors).all()
    assert (vectors[[0, 6]] == 0).all()  # nobody, and who is not in the table
    assert (vectors[1:6].norm(dim=1) > 0).all()
    # What training never saw adds nothing of its own: it is as if the value were not there.
    odd = profiles.encoding.column(profiles.encoding.fields.all[0], ["astronaut"])
    assert (made.tables["of_job"](torch.from_numpy(odd)) == 0).all()


def test_attributes_are_left_out_of_their_share_of_training(profiles: Profiles) -> None:
    made = tower(profiles, left_out=0.3).train()
    vectors = made(profiles.take(torch.full((4000,), 1)))
    assert (vectors == 0).all(1).float().mean().item() == pytest.approx(0.3, abs=0.03)
    with pytest.raises(ValueError, match=r"left_out must lie in 0…1, not 1\.5"):
        tower(profiles, left_out=1.5)


def test_without_attributes_the_history_alone_answers(profiles: Profiles) -> None:
    torch.manual_seed(0)
    with_users = model(
        profiles=profiles, profile_tower=partial(ProfileTower, hidden=8, init_std=1.0)
    ).eval()
    history = torch.tensor([[0, 3, 4]])
    nobody = with_users.score(history)
    for code in (0, 6):
        torch.testing.assert_close(with_users.score(history, torch.tensor([code])), nobody)
    ann = with_users.score(history, torch.tensor([1]))
    assert not torch.allclose(ann, nobody, atol=1e-3)
    with pytest.raises(ValueError, match=r"model\.profile_tower, which reads them, is null"):
        model(profiles=profiles)


def test_training_knows_whose_runs_they_are() -> None:
    """Histories of 0 to 5 items, cut into runs of 3: each run names its user."""
    lengths = torch.tensor([2, 0, 5, 1, 3])
    end = lengths.cumsum(0)
    histories = Histories(torch.arange(1, 12), end - lengths, end)
    runs = histories.split(3)
    batches = OwnedRunBatches(runs, histories.end, batch_size=2, pool=4, seed=0)
    owner = {item: n for n in range(5) for item in range(end[n] - lengths[n] + 1, end[n] + 1)}
    seen = 0
    for batch in batches:
        assert isinstance(batch, OwnedRuns)
        for run, user in zip(batch.runs.tolist(), batch.users.tolist(), strict=True):
            assert {owner[item] + 1 for item in run if item} == {user}
            seen += 1
    assert seen == len(runs) == 4
