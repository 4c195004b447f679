"""A notification as people read it: subject, text, HTML and picture, made when asked for."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.alerts.duration import shown
from pipelines.alerts.history import ScoreHistory, ScoreSeries
from pipelines.alerts.message import HOUR, RESOLVED, Message, number
from pipelines.alerts.plot import draw
from pipelines.alerts.schedule import zone_of

log = logging.getLogger(__name__)

PICTURE = "score.png"


class Stationery:
    """What all letters share.

    Args:
        scores: for the picture.
        zone: in which times are told.
        link: where an anomaly is looked at, with `{id}` for it; None: nowhere.
    """

    def __init__(self, scores: ScoreHistory, zone: str, link: str | None) -> None:
        self.scores = scores
        self.zone = zone_of(zone)
        self.link = link
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=lambda name: name is not None and "html" in name,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "number": lambda v: "missing" if v is None else number(v),
            "time": self.time,
            "duration": shown,
        }

    def time(self, us: int) -> str:
        moment = datetime.fromtimestamp(us / 1e6, self.zone)
        return f"{moment:%Y-%m-%d %H:%M:%S %Z}"

    def render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)


class Letter:
    """See the module.

    Args:
        key: the notification's; the same each time it is sent.
    """

    def __init__(self, key: str, message: Message, stationery: Stationery) -> None:
        self.key = key
        self.message = message
        self._stationery = stationery
        self._failure = ""

    @property
    def subject(self) -> str:
        return self.message.subject

    @cached_property
    def text(self) -> str:
        return self._render("letter.txt.j2")

    @cached_property
    def html(self) -> str:
        return self._render("letter.html.j2")

    @cached_property
    def series(self) -> ScoreSeries:
        """Of the gravest anomaly's source, the last hour; empty if it cannot be had."""
        message = self.message
        source = message.worst.get("source")
        if source is None:
            return ScoreSeries.none()
        try:
            return self._stationery.scores.read(source, message.at - HOUR, message.at)
        except Exception as error:  # a picture is not worth an alert
            log.warning("no picture for alert %d: %s", message.alert, error)
            self._failure = (str(error).splitlines() or [type(error).__name__])[0]
            return ScoreSeries.none()

    @cached_property
    def picture(self) -> bytes | None:
        """A PNG; None where there is nothing to draw: `no_picture` says why."""
        if not len(self.series.time):
            return None
        return draw(self.series, str(self.message.worst["source"]), self._stationery.zone)

    @property
    def no_picture(self) -> str:
        if len(self.series.time):
            return ""
        return f"No plot: {self._failure or 'no scores of the last hour are kept'}."

    @property
    def hour(self) -> str:
        """The last hour of that source in words; empty if there are no scores."""
        score, failed = self.series.score, int(np.isnan(self.series.score).sum())
        if not len(score):
            return ""
        with np.errstate(invalid="ignore"):
            above = int((score > self.series.threshold).sum())
        source = self.message.worst["source"]
        said = f"{len(score):,} events of {source}, {above:,} above the threshold"
        if failed:
            said += f", {failed:,} not scored"
        if failed < len(score):
            said += f"; median score {np.nanmedian(score):.2g}, highest {np.nanmax(score):.2g}"
        return said

    @property
    def link(self) -> str | None:
        template, worst = self._stationery.link, self.message.worst.get("id")
        return template.format(id=worst) if template and worst else None

    def _render(self, template: str) -> str:
        message = self.message
        return self._stationery.render(
            template,
            letter=self,
            message=message,
            worst=message.worst,
            over=message.reason == RESOLVED,
            picture=PICTURE,
        )
