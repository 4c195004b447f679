"""The artifact: the one thing that training hands to serving.

A folder `artifacts/<model>/<version>/`, written once, never changed, and loadable without the
training code: `model.onnx`, `signature.json`, `assets/`, `metrics.json`, `config.yaml` and
`MODEL_CARD.md`. The SHA-256 of every other file stands in `signature.json`; loading checks them.

Limits: this module needs no torch and no onnxruntime, so that the gateway can import it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SIGNATURE = "signature.json"
EXACT = "model.fp32.onnx"  # beside a model.onnx of 8-bit weights
HALF = "model.fp16.onnx"  # beside either, for GPUs


class ArtifactError(ValueError):
    """An artifact that cannot be trusted: a file missing, changed or unreadable."""

    exit_code = 65  # EX_DATAERR


@dataclass(frozen=True)
class Tensor:
    """One input or output of the graph; `shape` holds numbers and names of dynamic axes."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Signature:
    """What a server must know to feed the graph and read its answer."""

    name: str
    version: str
    task: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    opset: int
    created_at: str = ""
    feature_service: str | None = None
    # View → the version, schema and code that the model was trained on; empty: not known.
    features: dict[str, Any] = field(default_factory=dict)
    vocabulary: str | None = (
        None  # file under the artifact: JSON list, position i is graph id i + 1
    )
    limits: dict[str, int] = field(default_factory=dict)  # e.g. {"history": 200, "k": 100}
    ort: dict[str, Any] = field(default_factory=dict)  # ONNX Runtime session options
    files: dict[str, str] = field(default_factory=dict)  # path → SHA-256

    @classmethod
    def from_json(cls, text: str) -> Signature:
        raw = json.loads(text)
        for side in ("inputs", "outputs"):
            raw[side] = tuple(Tensor(t["name"], t["dtype"], tuple(t["shape"])) for t in raw[side])
        return cls(**raw)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Artifact:
    """A verified artifact on disk."""

    path: Path
    signature: Signature

    @property
    def model(self) -> Path:
        return self.path / "model.onnx"

    def asset(self, name: str) -> Path:
        """The path of a file under `assets/`; raises `ArtifactError` if the artifact has none."""
        if f"assets/{name}" not in self.signature.files:
            known = sorted(f for f in self.signature.files if f.startswith("assets/"))
            raise ArtifactError(f"{self.path}: no asset {name!r}; this artifact has {known}")
        return self.path / "assets" / name

    def read_asset(self, name: str) -> Any:
        """The content of a JSON asset."""
        return json.loads(self.asset(name).read_text(encoding="utf-8"))

    def metrics(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.path / "metrics.json").read_text())
        return content


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def new_version(now: datetime | None = None) -> str:
    """A version name that sorts by time, in UTC to the millisecond: `20260131-235959-123`."""
    now = now or datetime.now(UTC)
    return now.strftime("%Y%m%d-%H%M%S-") + f"{now.microsecond // 1000:03d}"


def write(folder: Path, root: Path, signature: Signature) -> Artifact:
    """Publish `folder` (model, assets, metrics, config, card) as `root/<name>/<version>/`.

    The folder is copied beside its goal, hashed, and renamed in one step: a reader never sees half
    an artifact. Raises `FileExistsError` if the version exists: artifacts are never overwritten.
    """
    goal = root / signature.name / signature.version
    if goal.exists():
        raise FileExistsError(f"artifact {goal} exists; artifacts are written once")
    goal.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{signature.version}-", dir=goal.parent))
    try:
        shutil.copytree(folder, staging, dirs_exist_ok=True)
        files = {
            str(p.relative_to(staging)): sha256(p)
            for p in sorted(staging.rglob("*"))
            if p.is_file() and p.name != SIGNATURE
        }
        complete = Signature(
            **{
                **{k: getattr(signature, k) for k in signature.__dataclass_fields__},
                "files": files,
                "created_at": signature.created_at or datetime.now(UTC).isoformat(),
            }
        )
        (staging / SIGNATURE).write_text(complete.to_json(), encoding="utf-8")
        staging.chmod(0o755)
        staging.replace(goal)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return Artifact(goal, complete)


def load(path: Path) -> Artifact:
    """Open an artifact after checking every file against its SHA-256.

    Raises `ArtifactError` naming the file that is missing, changed or unreadable.
    """
    path = Path(path)
    try:
        signature = Signature.from_json((path / SIGNATURE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no {SIGNATURE}; expected an artifact folder") from error
    except (json.JSONDecodeError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path / SIGNATURE}: not a signature ({error})") from error
    for name, expected in signature.files.items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{file}: missing, though {SIGNATURE} lists it")
        actual = sha256(file)
        if actual != expected:
            raise ArtifactError(f"{file}: SHA-256 is {actual}, {SIGNATURE} says {expected}")
    return Artifact(path, signature)


def latest(root: Path, name: str) -> Path:
    """The newest version of a model under `root`; raises `ArtifactError` if there is none."""
    folder = Path(root) / name
    versions = sorted(p for p in folder.glob("*") if (p / SIGNATURE).is_file())
    if not versions:
        raise ArtifactError(f"{folder}: no artifact; train and export one first")
    return versions[-1]
