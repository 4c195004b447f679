"""Champions: one version in force, changed in one step, and a way back."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models import artifact
from models.artifact import ArtifactError, Signature, Tensor
from models.champion import (
    ChampionError,
    champion,
    history,
    in_force,
    locked,
    promote,
    rollback,
    versions,
)


def put(root: Path, version: str) -> Path:
    folder = root / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(version.encode())
    tensor = Tensor("values", "float32", ("batch", 1, 2))
    signature = Signature("toy", version, "anomaly", (tensor,), (tensor,), opset=20)
    path = artifact.write(folder, root, signature).path
    shutil.rmtree(folder)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for version in ("1", "2", "3"):
        put(tmp_path, version)
    return tmp_path


def test_the_newest_is_in_force_until_somebody_promotes(root: Path) -> None:
    assert champion(root, "toy").name == "3"
    promote(root, "toy", "1", "it is better", "ada")
    assert champion(root, "toy").name == "1"
    put(root, "4")
    assert champion(root, "toy").name == "1"


def test_a_folder_of_versions_stands_for_the_one_in_force(root: Path) -> None:
    assert in_force(root / "toy") == root / "toy" / "3"
    promote(root, "toy", "1", "it is better", "ada")
    assert in_force(root / "toy") == root / "toy" / "1"
    assert in_force(root / "toy" / "2") == root / "toy" / "2"
    assert in_force(root / "elsewhere") == root / "elsewhere", "whoever loads it says so"
    (root / "empty").mkdir()
    with pytest.raises(ArtifactError, match="empty: no artifact"):
        in_force(root / "empty")


def test_the_record_says_since_when_why_and_who(root: Path) -> None:
    promote(root, "toy", "1", "first", "ada")
    promote(root, "toy", "2", "fewer false alarms", "grace")
    record = json.loads((root / "toy" / "champion.json").read_text())
    assert {k: record[k] for k in ("version", "why", "who")} == {
        "version": "2",
        "why": "fewer false alarms",
        "who": "grace",
    }
    assert record["since"] >= record["history"][0]["since"]
    assert [line["version"] for line in record["history"]] == ["1", "2"]


def test_rolling_back_twice_goes_back_twice_and_then_says_so(root: Path) -> None:
    for version in ("1", "2", "3"):
        promote(root, "toy", version, "", "ada")
    assert rollback(root, "toy", "alarms at night", "ada").name == "2"
    assert rollback(root, "toy", "still", "ada").name == "1"
    assert champion(root, "toy").name == "1"
    with pytest.raises(ChampionError, match=r"no version was in force before.*'2', '3'"):
        rollback(root, "toy", "", "ada")
    promote(root, "toy", "3", "", "ada")
    assert rollback(root, "toy", "", "ada").name == "1"
    actions = [c.action for c in history(root, "toy")]
    assert actions == [*["promoted"] * 3, *["rolled back"] * 2, "promoted", "rolled back"]


def test_promoting_what_is_in_force_changes_nothing(root: Path) -> None:
    promote(root, "toy", "1", "", "ada")
    promote(root, "toy", "2", "", "ada")
    promote(root, "toy", "2", "again", "ada")
    assert rollback(root, "toy", "", "ada").name == "1"


@pytest.mark.parametrize("version", ["9", "../toy/1", "", "."])
def test_an_unknown_version_lists_the_known(root: Path, version: str) -> None:
    with pytest.raises(ChampionError, match=r"no version .*\['1', '2', '3'\]"):
        promote(root, "toy", version, "", "ada")
    assert history(root, "toy") == []


def test_a_damaged_version_is_not_promoted(root: Path) -> None:
    (root / "toy" / "2" / "model.onnx").write_bytes(b"changed")
    with pytest.raises(ArtifactError, match=r"model\.onnx: SHA-256 is"):
        promote(root, "toy", "2", "", "ada")
    assert champion(root, "toy").name == "3"


def test_a_deleted_champion_is_named_and_can_be_rolled_back_from(root: Path) -> None:
    promote(root, "toy", "1", "", "ada")
    promote(root, "toy", "2", "", "ada")
    shutil.rmtree(root / "toy" / "2")
    with pytest.raises(ChampionError, match=r"version 2 is in force, but .*\['1', '3'\]"):
        champion(root, "toy")
    assert rollback(root, "toy", "deleted by mistake", "ada").name == "1"


def test_rollback_to_a_damaged_version_keeps_what_is_in_force(root: Path) -> None:
    promote(root, "toy", "1", "", "ada")
    promote(root, "toy", "2", "", "ada")
    (root / "toy" / "1" / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx: missing"):
        rollback(root, "toy", "", "ada")
    assert champion(root, "toy").name == "2"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": "1"}', '{"version": "1", "history": []}']
)
def test_a_broken_record_is_an_error_and_no_guess(root: Path, content: str) -> None:
    (root / "toy" / "champion.json").write_text(content)
    with pytest.raises(ChampionError, match=r"champion\.json: "):
        champion(root, "toy")


def test_no_artifact_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="train and export one first"):
        champion(tmp_path, "toy")
    with pytest.raises(ArtifactError, match="train and export one first"):
        promote(tmp_path, "toy", "1", "", "ada")


PROMOTES_FOR_EVER = """
import sys
from pathlib import Path
from models.champion import promote
print("ready", flush=True)
while True:
    for version in ("1", "2"):
        promote(Path(sys.argv[1]), "toy", version, "why " * 200, "ada")
"""


def test_a_kill_while_promoting_leaves_a_whole_record(root: Path) -> None:
    for attempt in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", PROMOTES_FOR_EVER, str(root)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.02 + 0.011 * attempt)  # somewhere else each time
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert champion(root, "toy").name in ("1", "2", "3")
        promote(root, "toy", "3", "after the kill", "ada")  # the dead one's lock is free
        assert champion(root, "toy").name == "3"
    assert versions(root, "toy") == ["1", "2", "3"]


def test_promotions_at_once_lose_none(root: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from models.champion import promote\n"
        "for v in '12' * 10: promote(Path(sys.argv[1]), 'toy', v, sys.argv[2], 'ada')"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", script, str(root), who]) for who in ("a", "b")
    ]
    assert [child.wait() for child in children] == [0, 0]
    found = [c.version for c in history(root, "toy")]
    assert all(a != b for a, b in itertools.pairwise(found))
    assert len(found) >= 20


def test_the_lock_is_held_by_one(root: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from models.champion import promote\n"
        "promote(Path(sys.argv[1]), 'toy', '1', 'waited', 'ada')"
    )
    with locked(root, "toy"):
        child = subprocess.Popen([sys.executable, "-c", script, str(root)])
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=1.0)
        assert history(root, "toy") == []
    assert child.wait() == 0
    assert champion(root, "toy").name == "1"
