"""Alerts from anomalies: `python scripts/alert.py run`, and what people do to them.

`list [alerts|history ID|notifications|dead|silences|maintenance]`, `silence source=… for=2h why=…`,
`unsilence ID`, `maintenance name=… from=… to=…` or `days=[sat] start=… end=…`, `cancel NAME`,
`acknowledge ID why=…`, `resend [ID]` of what is dead, `test [ROUTE]`.
"""

import getpass
import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError
from rich.console import Console
from rich.table import Table

from pipelines.alerts.commands import AlertCommands
from pipelines.alerts.duration import duration_us
from pipelines.alerts.errors import AlertCommandError, AlertConfigError, SendError
from pipelines.alerts.letter import Letter, Stationery
from pipelines.alerts.message import TEST, Message
from pipelines.alerts.metrics import AlertMetrics
from pipelines.alerts.route import Route, check
from pipelines.alerts.schedule import Once, Schedule, Span, Weekly, moment_us, zone_of
from pipelines.anomalies.store import ANOMALY, connect
from scripts.commands import CommandError
from scripts.entrypoint import entrypoint

# A pipe or a file has no width of its own: a table must not be squeezed into 80 columns there.
console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 200)
LABELS = ("source", "severity", "field", "kind")


def run(cfg: DictConfig, store: sa.Engine) -> None:
    """Until SIGTERM or Ctrl-C."""
    alerts, metrics, clock = cfg.alerts, AlertMetrics(), instantiate(cfg.alerts.clock)
    routes = all_routes(cfg)
    shared = {"store": store, "routes": routes, "clock": clock, "metrics": metrics}
    engine = instantiate(alerts.engine)(
        grouping=instantiate(alerts.grouping),
        rates=list(instantiate(alerts.rates)),
        maintenance=list(instantiate(alerts.maintenance)),
        escalation=list(instantiate(alerts.escalation)),
        **shared,
    )
    delivery = instantiate(alerts.delivery)(stationery=stationery(cfg, store), **shared)
    instantiate(alerts.job)(engine=engine, delivery=delivery, routes=routes, metrics=metrics).run()


def show(cfg: DictConfig, store: sa.Engine) -> None:
    """A table, and the same as JSON in output_dir."""
    listing = instantiate(cfg.alerts.listing)(
        store=store,
        maintenance=list(instantiate(cfg.alerts.maintenance)),
        clock=instantiate(cfg.alerts.clock),
    )
    rows = listing.rows(str(cfg.what), None if cfg.id is None else number(cfg))
    (Path(cfg.output_dir) / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")
    if not rows:
        print(f"no {cfg.what}")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    console.print(table, markup=False)


def silence(cfg: DictConfig, store: sa.Engine) -> None:
    """Keep something quiet for a while; says how much of the past it would have kept quiet."""
    zone, clock = zone_of(cfg.alerts.zone), instantiate(cfg.alerts.clock)
    start = moment_us(cfg["from"], zone) if cfg["from"] else clock.now()
    if (cfg["for"] is None) == (cfg.to is None):
        raise AlertCommandError("until when? Give for=2h, or to=2026-05-01T22:00, and not both")
    end = moment_us(cfg.to, zone) if cfg.to else start + duration_us(cfg["for"])
    id, past = commands(cfg, store).silence(matchers(cfg), Span(start, end), *signed(cfg))
    until = f"{datetime.fromtimestamp(end / 1e6, zone):%Y-%m-%d %H:%M %Z}"
    print(f"silence {id}: {', '.join(matchers(cfg))} until {until}")
    tried(cfg, past)


def unsilence(cfg: DictConfig, store: sa.Engine) -> None:
    """End a silence now."""
    commands(cfg, store).unsilence(number(cfg), caller(cfg))
    print(f"silence {cfg.id} is over")


def maintenance(cfg: DictConfig, store: sa.Engine) -> None:
    """Announce a window: once, or every week."""
    if not cfg.name:
        raise AlertCommandError("a maintenance window needs a name: name='disk swap'")
    zone = str(cfg.alerts.zone)
    schedule: Schedule
    if cfg.days:
        schedule = Weekly([str(d) for d in cfg.days], str(cfg.start), str(cfg.end), zone)
    elif cfg["from"] and cfg.to:
        schedule = Once(str(cfg["from"]), str(cfg.to), zone)
    else:
        raise AlertCommandError(
            "when? Give from=… to=…, or days=[sat,sun] start='02:00' end='04:00'"
        )
    name = str(cfg.name)
    who, why = signed(cfg)
    span, past = commands(cfg, store).announce(name, matchers(cfg), schedule, who, why)
    first = f"{datetime.fromtimestamp(span.start / 1e6, zone_of(zone)):%Y-%m-%d %H:%M %Z}"
    print(f"maintenance {name}: {schedule}; next at {first}")
    tried(cfg, past)


def cancel(cfg: DictConfig, store: sa.Engine) -> None:
    """Take back a window that was announced by command."""
    commands(cfg, store).cancel(str(cfg.name))
    print(f"maintenance {cfg.name} is cancelled")


def acknowledge(cfg: DictConfig, store: sa.Engine) -> None:
    """Somebody looks after it: no repeats, no escalation."""
    commands(cfg, store).acknowledge(number(cfg), *signed(cfg))
    print(f"alert {cfg.id} is acknowledged by {caller(cfg)}")


def resend(cfg: DictConfig, store: sa.Engine) -> None:
    """Try dead notifications again."""
    count = commands(cfg, store).resend(None if cfg.id is None else number(cfg))
    print(f"{count} notifications wait to be sent again")


def test(cfg: DictConfig, store: sa.Engine) -> None:
    """Send a made-up alert, past the store, and say how each route took it."""
    routes = all_routes(cfg)
    if cfg.route is not None and cfg.route not in routes:
        raise AlertCommandError(f"no route {cfg.route!r}; there are {list(routes)}")
    now = instantiate(cfg.alerts.clock).now()
    paper, failed = stationery(cfg, store), []
    for name, route in routes.items():
        if cfg.route in (None, name):
            letter = Letter(f"millrace-test-{now}-{name}", sample(now), paper)
            try:
                receipt = route.sender.send(letter)
                said = f"dry run: {receipt.response}" if receipt.dry_run else "sent"
                print(f"{name}: {said}")
            except SendError as error:
                failed.append(name)
                print(f"{name}: failed: {error}")
    if failed:
        raise SendError(f"{', '.join(failed)} did not take the test alert")


def sample(now: int) -> Message:
    """What `test` sends."""
    moved = [["cpu_usage", 97.0, 41.0, 0.7], ["memory", 88.0, 54.0, 0.3]]
    worst = {"id": "test", "source": "test", "timestamp": now, "severity": "info", "score": 4.2,
             "threshold": 3.0, "reason": None, "model": "", "moved": moved, "more": 0}  # fmt: skip
    return Message(
        alert=0, reason=TEST, kind=ANOMALY, severity="info", labels={"source": "test"},
        sources=["test"], fields=["cpu_usage", "memory"], started_at=now, fired_at=now, at=now,
        anomalies=1, suppressed=0, worst=worst, hour={"info": 1},
        note="this is a test: nothing is wrong",
    )  # fmt: skip


def all_routes(cfg: DictConfig) -> Mapping[str, Route]:
    try:
        return check({str(n): instantiate(r) for n, r in cfg.alerts.routes.items()}, [])
    except InterpolationResolutionError as error:  # a secret that is not in the environment
        raise AlertConfigError(f"a route's setting: {str(error).splitlines()[0]}") from error


def stationery(cfg: DictConfig, store: sa.Engine) -> Stationery:
    scores = instantiate(cfg.alerts.scores)(store=store)
    return Stationery(scores, cfg.alerts.zone, cfg.alerts.link)


def commands(cfg: DictConfig, store: sa.Engine) -> AlertCommands:
    made: AlertCommands = instantiate(cfg.alerts.commands)(
        store=store, clock=instantiate(cfg.alerts.clock)
    )
    return made


def matchers(cfg: DictConfig) -> list[str]:
    """Of the labels that are given one by one, and in full."""
    given = [f"{name}=~{cfg[name]}" for name in LABELS if cfg[name] is not None]
    return [*given, *(str(m) for m in cfg.matchers)]


def signed(cfg: DictConfig) -> tuple[str, str]:
    if not cfg.why:
        raise AlertCommandError("say why: why='disk swap'")
    return caller(cfg), str(cfg.why)


def caller(cfg: DictConfig) -> str:
    return str(cfg.who or getpass.getuser())


def number(cfg: DictConfig) -> int:
    try:
        return int(cfg.id)
    except (TypeError, ValueError) as error:
        raise AlertCommandError(f"{cfg.command} needs a number, not {cfg.id}") from error


def tried(cfg: DictConfig, past: int) -> None:
    days = cfg.alerts.commands.look_back_days
    if past:
        print(f"it matches {past} anomalies of the last {days} days")
    else:
        print(f"warning: it matches no anomaly of the last {days} days; is it written as meant?")


KEYS = {
    "run": (), "list": ("what", "id"), "silence": (), "unsilence": ("id",), "maintenance": (),
    "cancel": ("name",), "acknowledge": ("id",), "resend": ("id",), "test": ("route",),
}  # fmt: skip
COMMANDS: Mapping[str, Callable[[DictConfig, sa.Engine], None]] = {
    "run": run, "list": show, "silence": silence, "unsilence": unsilence,
    "maintenance": maintenance, "cancel": cancel, "acknowledge": acknowledge, "resend": resend,
    "test": test,
}  # fmt: skip


@entrypoint("alert", KEYS)
def main(cfg: DictConfig) -> None:
    """Run one command on the anomaly store."""
    if cfg.command not in COMMANDS:
        raise CommandError(f"no command {cfg.command!r}; there are: {', '.join(COMMANDS)}")
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml")  # as it was given: URLs hold secrets
    store = connect(cfg.anomalies.store)
    try:
        COMMANDS[cfg.command](cfg, store)
    finally:
        store.dispose()


if __name__ == "__main__":
    main()
