"""TorchServe with every model that there is, and the gateway, as two supervised services."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from feature_repo.store import StoreError, create_store, read_config
from models import artifact
from models.champion import champion
from serving.supervisor import Service
from serving.torchserve.archive import archive
from serving.torchserve.server import TorchServe


class MissingArtifactError(FileNotFoundError):
    """Nothing to serve yet."""

    exit_code = 66  # EX_NOINPUT


class SameModelError(ValueError):
    """Two artifacts that TorchServe could not tell apart."""

    exit_code = 78  # EX_CONFIG


def services(cfg: DictConfig) -> list[Service]:
    """Pack the artifacts of `cfg.models`, write both configurations below `cfg.output_dir`.

    With `features_only` there is nothing to pack and no TorchServe.

    Raises:
        MissingArtifactError: no artifact where the configuration points, or none at all.
        ArtifactError: an artifact is damaged.
        JavaMissingError: no Java.
    """
    output = Path(cfg.output_dir).resolve()
    chosen = {} if cfg.features_only else _artifacts(cfg)
    cfg.gateway.artifacts = dict.fromkeys(cfg.models) | {
        use: str(path.resolve()) for use, path in chosen.items()
    }
    if not chosen:
        cfg.gateway.torchserve.key_file = None
        return [_gateway(cfg, output)]
    if "recommender" not in chosen:
        _make_store(cfg)
    torchserve = _torchserve(cfg, output, chosen)
    cfg.gateway.torchserve.key_file = str(torchserve.tokens.path)
    return [
        Service(
            name="torchserve",
            command=torchserve.command(),
            folder=torchserve.folder,
            ready=torchserve.ready,
            log_file=output / "torchserve.log",
            ports=[(cfg.torchserve.host, port) for port in torchserve.ports.all()],
            prepare=torchserve.prepare,
        ),
        _gateway(cfg, output),
    ]


def _artifacts(cfg: DictConfig) -> dict[str, Path]:
    """The artifact of each use that has one: the path that is given, else the one in force.

    One that goes with another is served beside it only.

    Raises:
        MissingArtifactError: there is none for any of them.
    """
    chosen: dict[str, Path] = {}
    wanted: list[str] = []
    root = Path(cfg.paths.artifacts)
    for use, model in cfg.models.items():
        if model.get("goes_with") is not None and model.goes_with not in chosen:
            continue
        if model.artifact is not None:
            chosen[use] = Path(model.artifact)
        elif model.serve:
            wanted.append(f"{root / model.name} (made by `{model.made_by}`)")
            if any((root / model.name).glob(f"*/{artifact.SIGNATURE}")):
                chosen[use] = champion(root, model.name)
    if chosen:
        return chosen
    if not wanted:
        raise MissingArtifactError(
            "every model has serve=false: nothing to serve; features_only=true serves features"
        )
    raise MissingArtifactError(
        f"no artifact to serve: there is none in {', none in '.join(wanted)}; features_only=true "
        "serves features without a model"
    )


def _torchserve(cfg: DictConfig, output: Path, chosen: dict[str, Path]) -> TorchServe:
    settings: Any = OmegaConf.to_container(cfg.torchserve.model, resolve=True)
    models: dict[str, str] = {}
    for use, path in chosen.items():
        task = artifact.load(path).signature.task
        wanted = cfg.models[use].task
        tasks = [wanted] if isinstance(wanted, str) else list(wanted)
        if task not in tasks:
            raise artifact.ArtifactError(
                f"{path} is for task {task!r}; models.{use}.artifact must be for "
                f"{' or '.join(map(repr, tasks))}"
            )
        # The name is the artifact's own, whatever its folder is called.
        name = archive(path, output / "model_store", settings).stem
        if name in models:
            raise SameModelError(
                f"models.{models[name]} and models.{use} are both artifacts named {name!r}; "
                "TorchServe tells models apart by their names"
            )
        models[name] = str(use)
    return TorchServe(
        folder=output / "torchserve",
        model_store=output / "model_store",
        models=tuple(models),
        host=cfg.torchserve.host,
        ports=instantiate(cfg.torchserve.ports),
        java_home=cfg.torchserve.java_home,
        heap=cfg.torchserve.heap,
        java_options=tuple(cfg.torchserve.java_options),
        properties=dict(cfg.torchserve.properties),
    )


def _make_store(cfg: DictConfig) -> None:
    """API keys and the audit log lie beside the feature registry, so there has to be one."""
    folder = Path(cfg.gateway.features)
    try:
        read_config(folder)
    except StoreError:
        parts = ("online_store", "offline_store", "registry")
        made: list[Any] = [OmegaConf.to_container(cfg.features[p], resolve=True) for p in parts]
        create_store(folder, *made)


def _gateway(cfg: DictConfig, output: Path) -> Service:
    config = output / "gateway.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(OmegaConf.to_yaml(cfg.gateway, resolve=True), encoding="utf-8")
    url = f"http://{cfg.gateway.host}:{cfg.gateway.port}"
    return Service(
        name="gateway",
        command=[sys.executable, "-m", "serving.gateway", "--config", str(config)],
        folder=output,
        ready=lambda: answers(f"{url}/health/ready"),
        log_file=output / "gateway.log",
        ports=[(cfg.gateway.host, cfg.gateway.port)],
    )


def answers(url: str) -> bool:
    """Whether a GET of this URL gives 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
