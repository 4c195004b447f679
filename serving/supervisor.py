"""Keep a few processes alive: start, wait for health, restart what dies, stop all of it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psutil

log = logging.getLogger(__name__)


# EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_CONFIG: starting the same again would end the same way.
_USERS_FAULT = (64, 65, 66, 78)


class ServiceError(RuntimeError):
    """A service that cannot start, or does not become healthy."""

    exit_code = 69  # EX_UNAVAILABLE; or that of a service which refused what it was given


@dataclass(frozen=True)
class Service:
    """One process to keep alive.

    Args:
        ready: whether it can answer; called repeatedly.
        ports: (host, port) that must be free before it starts.
        prepare: run before every start, also before a restart.
        drain: seconds it gets after SIGTERM before SIGKILL.
    """

    name: str
    command: Sequence[str]
    folder: Path
    ready: Callable[[], bool]
    log_file: Path
    ports: Sequence[tuple[str, int]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    drain: float = 15.0


class Supervisor:
    """Run services in order; as a context manager, stops them when left.

    Children live in their own process groups and die with this process, however it ends.

    Args:
        startup_timeout: seconds until a service must be ready.
        backoff: seconds before a restart; doubled for each death within a minute, up to `longest`.
    """

    def __init__(
        self,
        services: Sequence[Service],
        startup_timeout: float = 120.0,
        backoff: float = 0.5,
        longest: float = 30.0,
    ) -> None:
        self.services = services
        self.startup_timeout = startup_timeout
        self.backoff = backoff
        self.longest = longest
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.deaths: dict[str, list[float]] = {s.name: [] for s in services}
        self._due: dict[str, float] = {}

    def __enter__(self) -> Supervisor:
        for service in self.services:
            for host, port in service.ports:
                require_free(host, port, service.name)
        try:
            for service in self.services:
                self._start(service)
                self._await(service)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def watch_once(self) -> None:
        """Restart what died since the last call, after its backoff."""
        now = time.monotonic()
        for service in self.services:
            process = self.processes[service.name]
            if process.poll() is None:
                continue
            if service.name not in self._due:
                self._bury(service, process.returncode, now)
            if now >= self._due[service.name]:
                del self._due[service.name]
                self._start(service)

    def run(self, interval: float = 0.2) -> None:
        """Watch until SIGINT or SIGTERM."""
        stopping: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: stopping.append(received))
        while not stopping:
            self.watch_once()
            time.sleep(interval)
        log.info("%s: stopping", signal.Signals(stopping[0]).name)

    def stop(self) -> None:
        """SIGTERM in reverse order, then SIGKILL to what is left of each group."""
        for service in reversed(self.services):
            process = self.processes.get(service.name)
            if process is None:
                continue
            _signal_group(process.pid, signal.SIGTERM)
            try:
                process.wait(service.drain)
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop within %.0f s: killed", service.name, service.drain)
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
            log.info("%s stopped", service.name)

    def _start(self, service: Service) -> None:
        service.prepare()
        service.folder.mkdir(parents=True, exist_ok=True)
        service.log_file.parent.mkdir(parents=True, exist_ok=True)
        with service.log_file.open("ab") as output:
            self.processes[service.name] = subprocess.Popen(
                list(service.command),
                cwd=service.folder,
                env={**os.environ, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        log.info("%s started (pid %d)", service.name, self.processes[service.name].pid)

    def _await(self, service: Service) -> None:
        """Wait until ready; one that dies or takes too long is an error with its last words."""
        started = time.monotonic()
        while not service.ready():
            code = self.processes[service.name].poll()
            if code is not None:
                error = ServiceError(
                    f"{service.name} ended with code {code} while starting:\n{_tail(service)}"
                )
                if code in _USERS_FAULT:
                    error.exit_code = code
                raise error
            if time.monotonic() - started > self.startup_timeout:
                raise ServiceError(
                    f"{service.name} was not ready within {self.startup_timeout:.0f} s:\n"
                    f"{_tail(service)}"
                )
            time.sleep(0.1)
        log.info("%s ready after %.1f s", service.name, time.monotonic() - started)

    def _bury(self, service: Service, code: int, now: float) -> None:
        _signal_group(self.processes[service.name].pid, signal.SIGKILL)  # its own children, if any
        recent = [t for t in self.deaths[service.name] if now - t < 60]
        self.deaths[service.name] = [*recent, now]
        delay = min(self.longest, self.backoff * 2 ** len(recent))
        self._due[service.name] = now + delay
        log.warning("%s ended with code %d; restart in %.1f s", service.name, code, delay)


def require_free(host: str, port: int, wanted_by: str) -> None:
    """Raise `ServiceError`, naming the owner if it can be seen, if something listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return
        except OSError as error:
            raise ServiceError(
                f"port {port} on {host}, wanted by {wanted_by}, is in use{_owner(port)}; stop that "
                "process or choose another port (gateway.port=…, torchserve.ports.…=…)"
            ) from error


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _owner(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            bound = getattr(connection.laddr, "port", None)
            if connection.status == "LISTEN" and bound == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""


def _die_with_parent() -> None:
    """In the child: ask the kernel for SIGKILL when the supervisor is gone (Linux only)."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(set_parent_death_signal, signal.SIGKILL)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _tail(service: Service, lines: int = 15) -> str:
    try:
        text = service.log_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])
