"""Run a gateway: `python -m serving.gateway --config gateway.yaml`.

The file is the resolved `gateway` node of the configuration; `scripts/serve.py` writes it. On
SIGTERM readiness turns false first, and the server stops `drain_s` seconds later, when balancers
have noticed and what is in flight has been answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import sys
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from omegaconf import DictConfig, OmegaConf

from serving.gateway.app import create_app


class DrainingServer(uvicorn.Server):
    """A server that says "not ready" before it stops."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_s: float) -> None:
        super().__init__(config)
        self.app = app
        self.drain_s = drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        state = self.app.state.gateway
        if state.draining:  # asked twice: at once
            super().handle_exit(sig, frame)
            return
        state.draining = True
        loop = asyncio.get_event_loop()
        loop.call_soon_threadsafe(
            lambda: loop.call_later(
                self.drain_s, super(DrainingServer, self).handle_exit, sig, None
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serving.gateway", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    config = OmegaConf.load(parser.parse_args().config)
    assert isinstance(config, DictConfig), "the configuration is a mapping"
    logging.basicConfig(
        level=config.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        app = create_app(config)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(code)
    server = DrainingServer(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # nobody is trusted to say who else asked
            loop="uvloop",
            http="httptools",
            backlog=1024,
            timeout_graceful_shutdown=config.graceful_s,
        ),
        app,
        config.drain_s,
    )
    # What is here now stays: the collector need not walk through it again and again.
    gc.collect()
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after a clean stop
        server.run()


if __name__ == "__main__":
    main()
