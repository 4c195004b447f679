"""A real TorchServe: answers, keys, bad neighbours, death and restart."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving.supervisor import ServiceError, Supervisor
from serving.torchserve.server import JavaMissingError, Ports, TorchServe
from tests.serving.conftest import RunningTorchServe, start_torchserve

pytestmark = [pytest.mark.services]


def post(server: TorchServe, body: bytes, key: str | None = None) -> tuple[int, Any]:
    token = server.tokens.inference_key() if key is None else key
    request = urllib.request.Request(
        f"{server.url}/predictions/recommender",
        data=body,
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def question(item: str) -> bytes:
    return json.dumps({"instances": [{"history": [item], "k": 2}]}).encode()


def test_answers_with_a_key_and_not_without(torchserve: RunningTorchServe) -> None:
    status, answer = post(torchserve.server, question("i07"))
    assert status == 200
    assert answer["predictions"][0]["items"] == ["i08", "i09"]
    assert answer["version"] == "20260101-000000-000"
    status, _ = post(torchserve.server, question("i07"), key="wrong")
    assert status in (400, 401, 403)


def test_bad_requests_do_not_hurt_their_neighbours(torchserve: RunningTorchServe) -> None:
    bodies = [question(f"i{n:02d}") if n % 4 else b"{" for n in range(40)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda b: post(torchserve.server, b), bodies))
    for n, (status, answer) in enumerate(answers):
        if n % 4:
            assert status == 200
            assert answer["predictions"][0]["items"][0] == f"i{n + 1:02d}"
        else:
            assert status == 400


def test_listens_on_loopback_only(torchserve: RunningTorchServe) -> None:
    ports = set(torchserve.server.ports.all())
    bound = {
        c.laddr.ip
        for c in psutil.net_connections("tcp")
        if c.status == "LISTEN" and c.laddr.port in ports
    }
    assert bound <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert bound


@pytest.mark.slow
def test_comes_back_after_kill_and_leaves_no_orphans(
    tmp_path: Path, tiny_artifact: Path, handler_settings: dict[str, object]
) -> None:
    server, service = start_torchserve(tmp_path, tiny_artifact, handler_settings)
    with Supervisor([service], startup_timeout=180, backoff=0.1) as supervisor:
        java = psutil.Process(supervisor.processes["torchserve"].pid)
        family = [java, *java.children(recursive=True)]
        os.kill(java.pid, signal.SIGKILL)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            supervisor.watch_once()
            if supervisor.processes["torchserve"].pid != java.pid and server.ready():
                break
            time.sleep(0.2)
        status, _ = post(server, question("i01"))
        assert status == 200
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive, f"left over from before the restart: {alive}"
        now = psutil.Process(supervisor.processes["torchserve"].pid)
        family = [now, *now.children(recursive=True)]
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, f"left over after the stop: {alive}"


def test_a_model_that_cannot_load_is_an_error_with_its_last_words(
    tmp_path: Path, tiny_artifact: Path, handler_settings: dict[str, Any]
) -> None:
    broken = {**handler_settings, "handler": {**handler_settings["handler"], "providers": ["None"]}}
    _, service = start_torchserve(tmp_path, tiny_artifact, broken)
    with pytest.raises(ServiceError, match="was not ready within 15 s"):
        Supervisor([service], startup_timeout=15).__enter__()


def test_missing_java_says_what_to_do(tmp_path: Path) -> None:
    server = TorchServe(
        tmp_path, tmp_path, ("m",), "127.0.0.1", Ports(1, 2, 3, 4, 5), java_home="/no/such/java"
    )
    with pytest.raises(JavaMissingError, match=r"no Java at /no/such/java.*torchserve\.java_home"):
        server.prepare()
