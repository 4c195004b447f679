"""TorchServe and the gateway as two supervised services, from one configuration."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models import artifact
from serving.supervisor import Service
from serving.torchserve.archive import archive
from serving.torchserve.server import TorchServe


class MissingArtifactError(FileNotFoundError):
    """Nothing to serve yet."""

    exit_code = 66  # EX_NOINPUT


def services(cfg: DictConfig) -> list[Service]:
    """Pack the chosen artifact, write both configurations below `cfg.output_dir`.

    With `features_only` there is nothing to pack and no TorchServe.

    Raises:
        MissingArtifactError: no artifact where the configuration points.
        ArtifactError: the artifact is damaged.
        JavaMissingError: no Java.
    """
    output = Path(cfg.output_dir).resolve()
    if cfg.features_only:
        cfg.gateway.artifact = None
        cfg.gateway.model.key_file = None
        return [_gateway(cfg, output)]
    chosen = _artifact(cfg)
    settings = OmegaConf.to_container(cfg.torchserve.model, resolve=True)
    # An artifact chosen by path may have another name than `cfg.name`.
    model = archive(chosen, output / "model_store", settings).stem  # type: ignore[arg-type]
    torchserve = TorchServe(
        folder=output / "torchserve",
        model_store=output / "model_store",
        models=(model,),
        host=cfg.torchserve.host,
        ports=instantiate(cfg.torchserve.ports),
        java_home=cfg.torchserve.java_home,
        heap=cfg.torchserve.heap,
        properties=dict(cfg.torchserve.properties),
    )
    cfg.gateway.artifact = str(chosen.resolve())
    cfg.gateway.model.model = model
    cfg.gateway.model.key_file = str(torchserve.tokens.path)
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


def _artifact(cfg: DictConfig) -> Path:
    try:
        return Path(cfg.artifact or artifact.latest(Path(cfg.paths.artifacts), cfg.name))
    except artifact.ArtifactError as error:
        raise MissingArtifactError(
            f"{error}: `python scripts/train.py` leaves one under {cfg.paths.artifacts}"
        ) from error
