"""`scripts/serve.py` as a user runs it: real TorchServe, real gateway, real faults."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving.supervisor import free_port
from tests.serving.conftest import ROOT

pytestmark = [pytest.mark.services]


@dataclass
class Stack:
    process: subprocess.Popen[str]
    url: str
    output: Path
    lines: list[str] = field(default_factory=list)

    def ask(self, path: str, timeout: float = 10.0) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=timeout) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def child(self, word: str) -> psutil.Process:
        """The service whose command line has this word."""
        for process in psutil.Process(self.process.pid).children():
            if any(word in part for part in process.cmdline()):
                return process
        raise AssertionError(f"no child with {word!r}")

    def source(self) -> str:
        try:
            return str(self.ask("/recommend?user_id=u3&n=3")[1].get("source"))
        except (OSError, ValueError) as error:
            return type(error).__name__


def overrides(artifact: Path, features: Path, root: Path) -> list[str]:
    ports = [f"torchserve.ports.{name}={free_port()}" for name in (
        "inference", "management", "metrics", "grpc_inference", "grpc_management",
    )]  # fmt: skip
    return [
        f"models.recommender.artifact={artifact}",
        f"paths.root={root}", f"output_dir={root / 'run'}",
        f"gateway.features={features}", f"gateway.port={free_port()}",
        "gateway/cache=none", *ports,
    ]  # fmt: skip


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def stack(
    tiny_artifact: Path, features: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    root = tmp_path_factory.mktemp("serve")
    settings = overrides(tiny_artifact, features, root)
    port = next(s.split("=")[1] for s in settings if s.startswith("gateway.port"))
    process = subprocess.Popen(
        [sys.executable, "scripts/serve.py", *settings],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    running = Stack(process, f"http://127.0.0.1:{port}", root / "run")
    assert process.stdout is not None
    for line in process.stdout:
        running.lines.append(line)
        if line.startswith("try "):
            break
    assert process.poll() is None, "".join(running.lines)
    threading.Thread(target=lambda: [running.lines.append(x) for x in process.stdout]).start()
    yield running
    process.kill()
    process.wait()


def test_it_prints_where_it_serves_and_answers_there(stack: Stack) -> None:
    text = "".join(stack.lines)
    assert f"gateway     {stack.url}" in text
    assert "torchserve  http://127.0.0.1:" in text
    status, answer = stack.ask("/recommend?user_id=u3&n=3")
    assert status == 200
    assert answer["source"] == "model"
    # u3 touched i03 and i04: the model's next ones are i05, i06, …
    assert [i["item_id"] for i in answer["items"]] == ["i05", "i06", "i07"]
    assert json.loads((stack.output / "metrics.json").read_text())["startup_seconds"] > 0


@pytest.mark.parametrize(
    ("query", "status", "named"),
    [
        ("", 422, "user_id"),
        ("user_id=", 422, "user_id"),
        ("user_id=u3&n=0", 422, "0"),
        ("user_id=u3&n=-1", 422, "-1"),
        ("user_id=u3&n=1000000000", 422, "1000000000"),
        ("user_id=u3&n=x", 422, "x"),
    ],
)
def test_bad_input_over_real_http(stack: Stack, query: str, status: int, named: str) -> None:
    code, problem = stack.ask(f"/recommend?{query}")
    assert code == status
    assert problem["status"] == status
    assert named in problem["detail"]


def test_a_body_of_twenty_megabytes_is_refused_before_it_is_sent(stack: Stack) -> None:
    port = int(stack.url.rsplit(":", 1)[1])
    head = (
        "POST /v1/recommendations HTTP/1.1\r\nHost: gateway\r\nContent-Length: 20000000\r\n"
        "Content-Type: application/json\r\n\r\n["
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.encode())  # and not one megabyte of the body
        with connection.makefile("rb") as stream:
            answer = stream.read().decode()  # until the server hangs up
    assert answer.startswith("HTTP/1.1 413 ")
    assert "16777216" in answer
    assert stack.ask("/health/live")[0] == 200


def test_torchserve_killed_under_load_gives_fallbacks_and_nothing_hangs(stack: Stack) -> None:
    deadline_s, seen, slowest = 0.25, Counter[str](), [0.0]
    stop = threading.Event()
    lock = threading.Lock()

    def customer(number: int) -> None:
        user = number
        while not stop.is_set():
            started = time.monotonic()
            status, answer = stack.ask(f"/recommend?user_id=u{user % 20}&n=3", timeout=5)
            taken = time.monotonic() - started
            user += 4
            with lock:
                seen[f"{status} {answer.get('source')} {answer.get('reason')}"] += 1
                slowest[0] = max(slowest[0], taken)

    customers = [threading.Thread(target=customer, args=(n,)) for n in range(4)]
    for thread in customers:
        thread.start()
    time.sleep(1)
    stack.child("ModelServer").kill()
    time.sleep(2)
    stop.set()
    for thread in customers:
        thread.join(10)
        assert not thread.is_alive(), "a request hangs"
    assert set(seen) <= {
        "200 model None",
        "200 popular model_unavailable",
        "200 popular deadline",
    }, seen
    assert seen["200 model None"] > 0
    assert seen["200 popular model_unavailable"] > 0
    # Not a test of speed: an answer that waits for the dead model would take its 2 s time-out.
    assert slowest[0] < deadline_s + 1.5
    with urllib.request.urlopen(f"{stack.url}/metrics") as answer:
        metrics = answer.read().decode()
    assert 'millrace_gateway_fallbacks_total{reason="model_unavailable"}' in metrics
    wait_for(lambda: stack.source() == "model", 90)


def test_a_killed_gateway_comes_back(stack: Stack) -> None:
    before = stack.child("serving.gateway")
    before.kill()
    wait_for(lambda: stack.source() == "model", 90)
    assert stack.child("serving.gateway").pid != before.pid


def test_an_occupied_port_ends_it_with_69(
    stack: Stack, tiny_artifact: Path, features: Path, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "scripts/serve.py", *overrides(tiny_artifact, features, tmp_path),
             f"gateway.port={port}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 69, done.stderr
    assert f"port {port} on 127.0.0.1, wanted by gateway, is in use" in done.stderr


def test_a_corrupted_artifact_ends_it_with_65(
    tiny_artifact: Path, features: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "artifact"
    shutil.copytree(tiny_artifact, damaged)
    model = damaged / "model.onnx"
    model.chmod(0o644)
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "scripts/serve.py", *overrides(damaged, features, tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 65, done.stderr
    assert "model.onnx" in done.stderr
    assert "SHA-256" in done.stderr


def test_without_an_artifact_it_says_how_to_make_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/serve.py", f"paths.root={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 66, done.stderr
    assert "scripts/train.py" in done.stderr


def test_sigterm_stops_everything_cleanly(stack: Stack) -> None:
    """The last test of this file: it ends the shared stack."""
    family = psutil.Process(stack.process.pid).children(recursive=True)
    assert len(family) >= 3, "TorchServe, its worker and the gateway"
    stack.process.send_signal(signal.SIGTERM)
    assert stack.process.wait(40) == 0
    _, left = psutil.wait_procs(family, timeout=5)
    assert not left
    text = "".join(stack.lines)
    assert text.index("gateway stopped") < text.index("torchserve stopped")
    assert list((stack.output.parent / "data").rglob("*.parquet")), "the prediction log was written"
