"""An artifact and the handler as one `.mar`, TorchServe's unit of deployment."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from model_archiver.model_archiver import ModelArchiver
from model_archiver.model_archiver_config import ModelArchiverConfig

from models import artifact

ENTRY = Path(__file__).with_name("entry.py")


def archive(path: Path, model_store: Path, model_config: Mapping[str, Any]) -> Path:
    """Check the artifact at `path` and pack it into `model_store/<name>.mar`.

    Args:
        model_config: written as `model-config.yaml`: TorchServe's keys, and ours under `handler`.

    Raises:
        ArtifactError: the artifact is damaged.
    """
    loaded = artifact.load(path)
    name = loaded.signature.name
    model_store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as staging:
        settings = Path(staging) / "model-config.yaml"
        settings.write_text(yaml.safe_dump(dict(model_config)), encoding="utf-8")
        # The artifact keeps its folder inside the archive: its SHA-256s speak of these paths.
        extra = Path(staging) / "extra"
        shutil.copytree(loaded.path, extra / "artifact")
        _package(
            Path(staging),
            ModelArchiverConfig(
                model_name=name,
                version=loaded.signature.version,
                handler=str(ENTRY),
                extra_files=str(extra),
                config_file=str(settings),
                export_path=str(model_store),
                archive_format="default",
                force=True,
            ),
        )
    return model_store / f"{name}.mar"


def _package(scratch: Path, config: ModelArchiverConfig) -> None:
    """Run the archiver with a temporary folder of its own.

    It stages under `<temporary folder>/<model name>`, deleting what lies there: two archivers of
    one name at the same time would mix their files.
    """
    before = tempfile.tempdir
    tempfile.tempdir = str(scratch)
    try:
        ModelArchiver.generate_model_archive(config)
    finally:
        tempfile.tempdir = before
