"""The load generator: how many questions come, whoever answers them."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.conftest import ROOT


async def load(folder: Path, pause: float, *options: str) -> dict[str, Any]:
    """A load of one second on one connection to a server that takes `pause` seconds each time."""

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(pause)
        return web.Response(text="fine")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    requests = folder / "requests.jsonl"
    requests.write_text(json.dumps({"method": "GET", "path": "/"}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "benchmarks/load.py", "--requests", str(requests), "--port",
        str(runner.addresses[0][1]), "--connections", "1", "--seconds", "1", "--warmup", "0",
        "--expect", "fine", *options, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    await runner.cleanup()
    found: dict[str, Any] = json.loads(output)
    return found


async def test_an_open_load_asks_as_often_as_it_says_however_slow_the_answers(
    tmp_path: Path,
) -> None:
    slow = await load(tmp_path, 0.1, "--rate", "20")
    assert slow["requests"] == 20
    assert slow["unexpected"] == slow["lost_connections"] == 0
    # Each took a tenth of a second; the last one was due a second before it was answered.
    assert slow["p99_ms"] > 500


async def test_a_closed_load_waits_for_each_answer(tmp_path: Path) -> None:
    slow = await load(tmp_path, 0.1)
    assert 1 <= slow["requests"] <= 10
