"""Artifacts: written once, whole, and not trusted when changed."""

import json
from pathlib import Path

import pytest

from models import artifact
from models.artifact import ArtifactError, Signature, Tensor


def signature(version: str = "1") -> Signature:
    history = Tensor("history", "int64", ("batch", "time"))
    items = Tensor("items", "int64", ("batch", 10))
    return Signature("toy", version, "recommendation", (history,), (items,), opset=20)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    (folder / "assets").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "assets" / "items.json").write_text('["a", "b"]')
    (folder / "metrics.json").write_text("{}")
    return folder


def test_round_trip(parts: Path, tmp_path: Path) -> None:
    written = artifact.write(parts, tmp_path / "artifacts", signature())
    loaded = artifact.load(written.path)
    assert loaded == written
    assert loaded.signature.inputs[0].shape == ("batch", "time")
    assert loaded.read_asset("items.json") == ["a", "b"]
    assert artifact.latest(tmp_path / "artifacts", "toy") == written.path


def test_versions_are_never_overwritten(parts: Path, tmp_path: Path) -> None:
    artifact.write(parts, tmp_path, signature())
    with pytest.raises(FileExistsError, match="written once"):
        artifact.write(parts, tmp_path, signature())


def test_a_changed_file_is_named(parts: Path, tmp_path: Path) -> None:
    path = artifact.write(parts, tmp_path, signature()).path
    (path / "model.onnx").write_bytes(b"grapf")
    with pytest.raises(ArtifactError, match=r"model\.onnx: SHA-256 is"):
        artifact.load(path)


def test_a_missing_file_is_named(parts: Path, tmp_path: Path) -> None:
    path = artifact.write(parts, tmp_path, signature()).path
    (path / "assets" / "items.json").unlink()
    with pytest.raises(ArtifactError, match=r"items\.json: missing"):
        artifact.load(path)


@pytest.mark.parametrize("content", ["", "{", json.dumps({"name": "x"})])
def test_a_broken_signature_is_an_artifact_error(parts: Path, tmp_path: Path, content: str) -> None:
    path = artifact.write(parts, tmp_path, signature()).path
    (path / "signature.json").write_text(content)
    with pytest.raises(ArtifactError, match="not a signature"):
        artifact.load(path)


def test_no_artifact_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="train and export one first"):
        artifact.latest(tmp_path, "toy")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        artifact.write(tmp_path / "absent", tmp_path / "artifacts", signature())
    assert not list((tmp_path / "artifacts").rglob("*.json"))
    assert not list((tmp_path / "artifacts" / "toy").iterdir())


def test_unknown_asset_lists_the_known_ones(parts: Path, tmp_path: Path) -> None:
    written = artifact.write(parts, tmp_path, signature())
    with pytest.raises(ArtifactError, match=r"items\.json"):
        written.asset("labels.json")


def test_versions_sort_by_time() -> None:
    assert artifact.new_version() <= artifact.new_version()


def test_an_artifact_from_before_versions_of_features_loads(parts: Path, tmp_path: Path) -> None:
    path = artifact.write(parts, tmp_path, signature()).path
    content = json.loads((path / "signature.json").read_text())
    del content["features"]
    (path / "signature.json").write_text(json.dumps(content))
    assert artifact.load(path).signature.features == {}
