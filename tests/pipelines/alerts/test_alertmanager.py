"""A real Alertmanager: what it shows, and that what is over ends there."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.alerts.clock import SystemClock
from pipelines.alerts.errors import AlertConfigError
from pipelines.alerts.route import Route
from pipelines.alerts.senders.alertmanager import AlertmanagerSender
from serving.supervisor import free_port
from tests.pipelines.alerts.house import MINUTE, House, ManualClock

pytestmark = pytest.mark.services


class Alertmanager:
    """One process, which may be killed and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir()
        (folder / "a.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                self._program,
                f"--config.file={self._folder / 'a.yml'}",
                f"--storage.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(300):
            try:
                with urllib.request.urlopen(self.url + "/-/ready", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("Alertmanager is not ready")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def alerts(self) -> list[dict[str, Any]]:
        """What amtool shows as active."""
        amtool = shutil.which("amtool")
        assert amtool
        command = [amtool, f"--alertmanager.url={self.url}", "alert", "query", "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        return found


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None or shutil.which("amtool") is None:
        pytest.skip("no Alertmanager; on Debian: apt-get install prometheus-alertmanager")
    made = Alertmanager(program, tmp_path / "am")
    made.start()
    yield made
    made.stop()


def begun(make_house: Any, alertmanager: Alertmanager) -> House:
    """A house some minutes ago: Alertmanager goes by the real time, and by that ours has fired."""
    sender = AlertmanagerSender(
        alertmanager.url, "5m", 10.0, "https://millrace.example", SystemClock()
    )
    clock = ManualClock(SystemClock().now() - 5 * MINUTE)
    house: House = make_house(routes={"alertmanager": Route(sender)}, clock=clock)
    return house


def test_alerts_begin_change_and_end_there(alertmanager: Alertmanager, make_house: Any) -> None:
    house = begun(make_house, alertmanager)
    house.anomaly(severity="warning")
    house.anomaly("web", severity="critical")
    house.turn()
    house.turn(0.5)
    shown = {a["labels"]["source"]: a for a in alertmanager.alerts()}
    assert set(shown) == {"db-1", "web"}
    assert shown["db-1"]["labels"] == {
        "alertname": "MillraceAnomaly", "kind": "anomaly", "source": "db-1", "severity": "warning",
        "alert": shown["db-1"]["labels"]["alert"],
    }  # fmt: skip
    assert shown["db-1"]["annotations"]["summary"] == "[WARNING] db-1: cpu 97, expected 41"
    assert "What moved" in shown["db-1"]["annotations"]["description"]

    # Graver: the alert of the lower severity ends when the higher one begins.
    house.anomaly(severity="critical")
    house.turn(0.5)
    house.delivery.refresh()
    severities = [
        a["labels"]["severity"] for a in alertmanager.alerts() if a["labels"]["source"] == "db-1"
    ]
    assert severities == ["critical"]

    # One that was killed, and has forgotten everything, knows all of it again.
    alertmanager.stop()
    shutil.rmtree(alertmanager._folder / "data", ignore_errors=True)
    alertmanager.start()
    assert alertmanager.alerts() == []
    house.delivery.refresh()
    assert {a["labels"]["source"] for a in alertmanager.alerts()} == {"db-1", "web"}

    house.turn(15)
    assert [r["reason"] for r in house.rows("notifications")][:2] == ["resolved", "resolved"]
    assert alertmanager.alerts() == []


def test_an_alertmanager_that_is_away_is_told_later(
    alertmanager: Alertmanager, make_house: Any
) -> None:
    house = begun(make_house, alertmanager)
    alertmanager.stop()
    house.fire()
    assert house.rows("notifications")[0]["status"] == "waiting"
    alertmanager.start()
    house.turn(0.2)
    assert house.rows("notifications")[0]["status"] == "sent"
    assert [a["labels"]["source"] for a in alertmanager.alerts()] == ["db-1"]


def test_a_bad_url_is_named() -> None:
    with pytest.raises(AlertConfigError, match="is no http"):
        AlertmanagerSender("localhost:9093", "5m", 10.0, None, SystemClock())
