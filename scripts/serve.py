"""Start TorchServe and the gateway and keep them alive: `python scripts/serve.py`."""

import json
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from scripts.entrypoint import entrypoint
from serving.stack import services
from serving.supervisor import Supervisor


def _question(url: str, served: set[str]) -> str:
    """A command that a user can type at once."""
    if "recommender" in served:
        return f"curl '{url}/recommend?user_id=…'"
    if "anomaly" in served:
        event = '{"timestamp": "…", "<field>": 1.0}'
        return f"curl -H 'content-type: application/json' {url}/predict -d '{event}'"
    return f"curl '{url}/feature/user_history?user_id=…'"


@entrypoint("serve")
def main(cfg: DictConfig) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(services(cfg), cfg.startup_timeout_s, cfg.backoff_s)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    with supervisor:
        seconds = round(time.perf_counter() - started, 1)
        (output / "metrics.json").write_text(json.dumps({"startup_seconds": seconds}) + "\n")
        url = f"http://{cfg.gateway.host}:{cfg.gateway.port}"
        print(f"gateway     {url}  (documentation: {url}/docs)")
        served = {use: path for use, path in cfg.gateway.artifacts.items() if path is not None}
        if served:
            client = cfg.gateway.torchserve
            print(f"torchserve  {client.url}  (keys: {client.key_file})")
        for use, path in served.items():
            print(f"{use:11} {path}")
        print(f"logs        {output}")
        print(f"try         {_question(url, set(served))}", flush=True)
        supervisor.run()


if __name__ == "__main__":
    main()
