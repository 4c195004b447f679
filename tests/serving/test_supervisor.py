"""Processes that come up, die, hang and refuse to go, as real processes do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from serving.supervisor import Service, ServiceError, Supervisor, free_port, require_free

READY = "import pathlib, time; pathlib.Path('up').touch(); time.sleep(600)"


def service(folder: Path, code: str = READY, name: str = "sleeper", drain: float = 5.0) -> Service:
    return Service(
        name=name,
        command=[sys.executable, "-c", code],
        folder=folder / name,
        ready=lambda: (folder / name / "up").exists(),
        log_file=folder / f"{name}.log",
        drain=drain,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_services_start_when_the_one_before_is_ready_and_all_stop(tmp_path: Path) -> None:
    late = "import pathlib, time; time.sleep(0.5); pathlib.Path('up').touch(); time.sleep(600)"
    check = (
        f"import pathlib, sys, time\n"
        f"sys.exit(3) if not pathlib.Path({str(tmp_path / 'first' / 'up')!r}).exists() else None\n"
        "pathlib.Path('up').touch(); time.sleep(600)"
    )
    chain = [service(tmp_path, late, "first"), service(tmp_path, check, "second")]
    with Supervisor(chain, startup_timeout=20) as supervisor:
        pids = [p.pid for p in supervisor.processes.values()]
        assert all(map(alive, pids))
    assert not any(map(alive, pids))


def test_what_dies_is_restarted_later_and_later(tmp_path: Path) -> None:
    with Supervisor([service(tmp_path)], startup_timeout=20, backoff=0.1) as supervisor:
        gaps = []
        for _ in range(3):
            before = supervisor.processes["sleeper"].pid
            os.kill(before, signal.SIGKILL)
            started = time.monotonic()

            def back(before: int = before) -> bool:
                supervisor.watch_once()
                return supervisor.processes["sleeper"].pid != before

            wait_for(back)
            gaps.append(time.monotonic() - started)
        assert gaps[0] < gaps[1] < gaps[2], gaps


def test_a_service_that_dies_while_starting_shows_its_last_words(tmp_path: Path) -> None:
    code = "import sys; print('no such model: foo'); sys.exit(4)"
    with pytest.raises(ServiceError, match=r"code 4 while starting(.|\n)*no such model: foo"):
        Supervisor([service(tmp_path, code)], startup_timeout=20).__enter__()


@pytest.mark.parametrize(("code", "exit_code"), [(65, 65), (78, 78), (4, 69), (-9, 69)])
def test_who_refuses_what_it_was_given_decides_the_exit_code(
    tmp_path: Path, code: int, exit_code: int
) -> None:
    ends = (
        f"import os; os.kill(os.getpid(), {-code})" if code < 0 else f"import sys; sys.exit({code})"
    )
    with pytest.raises(ServiceError) as refused:
        Supervisor([service(tmp_path, ends)], startup_timeout=20).__enter__()
    assert refused.value.exit_code == exit_code


def test_a_service_that_never_gets_ready_is_stopped(tmp_path: Path) -> None:
    supervisor = Supervisor([service(tmp_path, "import time; time.sleep(600)")], startup_timeout=1)
    with pytest.raises(ServiceError, match="not ready within 1 s"):
        supervisor.__enter__()
    assert not alive(supervisor.processes["sleeper"].pid)


def test_one_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "pathlib.Path('up').touch(); time.sleep(600)"
    )
    with Supervisor([service(tmp_path, code, drain=0.5)], startup_timeout=20) as supervisor:
        parent = supervisor.processes["sleeper"].pid
        child = int((tmp_path / "sleeper" / "child").read_text())
    assert not alive(parent)
    wait_for(lambda: not alive(child))


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from tests.serving.test_supervisor import Supervisor, service\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "with Supervisor([service(folder)], startup_timeout=20) as s:\n"
        "    print(s.processes['sleeper'].pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    wait_for(lambda: not alive(child))


def test_an_occupied_port_is_named_with_its_owner() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        expected = (
            rf"port {port} on 127\.0\.0\.1, wanted by gateway, is in use by .*pid {os.getpid()}"
        )
        with pytest.raises(ServiceError, match=expected):
            require_free("127.0.0.1", port, "gateway")
    require_free("127.0.0.1", free_port(), "gateway")
