"""Start TorchServe and the gateway and keep them alive: `python scripts/serve.py`."""

import json
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from scripts.entrypoint import entrypoint
from serving.stack import services
from serving.supervisor import Supervisor


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
        if not cfg.features_only:
            print(f"torchserve  {cfg.gateway.model.url}  (keys: {cfg.gateway.model.key_file})")
        print(f"logs        {output}")
        question = "feature/user_history?user_id=…" if cfg.features_only else "recommend?user_id=…"
        print(f"try         curl '{url}/{question}'", flush=True)
        supervisor.run()


if __name__ == "__main__":
    main()
