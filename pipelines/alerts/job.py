"""The long-running process: turns of the engine, a sender for each route, until it is stopped."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping

import sqlalchemy as sa
from prometheus_client import start_http_server

from pipelines.alerts.delivery import Delivery
from pipelines.alerts.duration import duration_us
from pipelines.alerts.engine import AlertEngine
from pipelines.alerts.errors import SendError
from pipelines.alerts.metrics import AlertMetrics
from pipelines.alerts.route import Route

log = logging.getLogger(__name__)


class AlertJob:
    """See the module. What fails is counted, said, and done again: the store keeps everything.

    Args:
        every_s: between looks at the store while there is nothing to do.
        refresh: between tellings of what is firing to those that forget.
        stop_s: for what is being sent when the job is stopped; longer than any sender's timeout.
        metrics_port: where Prometheus may scrape; None: nowhere.
    """

    def __init__(
        self,
        engine: AlertEngine,
        delivery: Delivery,
        routes: Mapping[str, Route],
        metrics: AlertMetrics,
        every_s: float,
        refresh: str,
        stop_s: float,
        metrics_port: int | None,
        metrics_host: str,
    ) -> None:
        self._engine = engine
        self._delivery = delivery
        self._routes = routes
        self._metrics = metrics
        self._every_s = every_s
        self._refresh_s = duration_us(refresh) / 1e6
        self._stop_s = stop_s
        self._metrics_port, self._metrics_host = metrics_port, metrics_host
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        self._engine.open()
        self._delivery.open()
        if self._metrics_port is not None:
            start_http_server(self._metrics_port, self._metrics_host, self._metrics.registry)
        threads = [
            threading.Thread(target=self._repeat, args=(part, what, pause), daemon=True, name=part)
            for part, what, pause in (
                *(("delivery", self._sender(name), self._every_s) for name in self._routes),
                ("refresh", self._refresh, self._refresh_s),
                ("measure", self._measure, self._every_s),
            )
        ]
        for thread in threads:
            thread.start()
        log.info("alerts: started, routes %s", ", ".join(self._routes))
        self._repeat("engine", self._turn, self._every_s)
        for thread in threads:
            thread.join(self._stop_s)
        log.info("alerts: stopped")

    def _turn(self) -> bool:
        turn = self._engine.turn()
        if turn.anomalies or turn.notifications:
            log.info("%d anomalies, %d notifications", turn.anomalies, turn.notifications)
        return turn.more

    def _sender(self, name: str) -> Callable[[], bool]:
        return lambda: self._delivery.run_once(name)

    def _refresh(self) -> bool:
        self._delivery.refresh()
        return False

    def _measure(self) -> bool:
        self._delivery.measure()
        return False

    def _repeat(self, part: str, what: Callable[[], bool], pause_s: float) -> None:
        """Again at once while there is more to do, else after a pause."""
        while not self._stopping.is_set():
            try:
                more = what()
            except Exception as error:
                more = False
                self._metrics.failures.labels(part).inc()
                expected = isinstance(error, (sa.exc.DBAPIError, SendError))
                log.warning("%s waits: %s", part, error, exc_info=None if expected else error)
            if not more:
                self._stopping.wait(pause_s)
