"""`scripts/champion.py`: show, promote and roll back from the command line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models import artifact
from models.artifact import Signature, Tensor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    root = tmp_path / "artifacts"
    for version in ("20260101-000000-000", "20260102-000000-000"):
        parts = tmp_path / "parts"
        parts.mkdir()
        (parts / "model.onnx").write_bytes(b"graph")
        tensor = Tensor("values", "float32", ("batch", 1, 2))
        artifact.write(
            parts, root, Signature("toy", version, "anomaly", (tensor,), (tensor,), opset=20)
        )
        shutil.rmtree(parts)
    return root


def call(artifacts: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    runs = f"paths.runs={artifacts.parent / 'runs'}"
    return subprocess.run(
        [sys.executable, "scripts/champion.py", *arguments, f"paths.artifacts={artifacts}", runs],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def test_promote_show_and_roll_back(artifacts: Path) -> None:
    for version in ("20260102-000000-000", "20260101-000000-000"):
        done = call(artifacts, "promote", "toy", version, "why='fewer false alarms'", "who=ada")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith(version)
    assert call(artifacts, "rollback", "name=toy").stdout.strip().endswith("20260102-000000-000")
    shown = call(artifacts, "show", "name=toy").stdout
    assert "fewer false alarms" in shown
    assert "rolled back" in shown
    assert "ada" in shown


def test_what_cannot_be_done_is_said_with_what_can(artifacts: Path) -> None:
    unknown = call(artifacts, "promote", "toy", "3")
    assert unknown.returncode == 65
    assert "20260101-000000-000" in unknown.stderr
    none = call(artifacts, "rollback", "name=toy")
    assert none.returncode == 65
    assert "no version was in force before" in none.stderr
    word = call(artifacts, "rolback", "name=toy")
    assert word.returncode == 2
    assert "rollback" in word.stderr
