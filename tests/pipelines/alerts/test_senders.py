"""Real mail, real HTTP: what arrives at the other end."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pipelines.alerts.errors import AlertConfigError
from pipelines.alerts.history import ScoreSeries
from pipelines.alerts.route import Route
from pipelines.alerts.senders.apprise import AppriseSender
from tests.pipelines.alerts.house import MINUTE, House
from tests.pipelines.alerts.servers import HttpSink, SmtpSink


class Hour:
    """An hour of scores, one a second, with a burst at its end and a stretch not scored."""

    def read(self, source: str, since: int, until: int) -> ScoreSeries:
        time = np.linspace(since, until, 3600).astype(np.int64)
        score = np.abs(np.sin(np.arange(3600) / 90)) + np.random.default_rng(0).random(3600)
        score[-40:] += np.linspace(0, 6, 40)
        score[1500:1520] = np.nan
        return ScoreSeries(time, score, np.full(3600, 4.0) - np.linspace(0, 0.5, 3600))


class Broken:
    def read(self, source: str, since: int, until: int) -> ScoreSeries:
        raise OSError("the warehouse is away")


def mail_route(port: int, form: str = "html") -> Route:
    url = f"mailto://127.0.0.1:{port}?from=millrace@example.com&to=ops@example.com&mode=insecure"
    per_message = {"inline": "yes", "+Idempotency-Key": "{key}"}
    return Route(AppriseSender(url, form, picture=True, per_message=per_message))


def test_an_email_has_html_text_and_the_picture(make_house: Any, smtp: SmtpSink) -> None:
    house: House = make_house(
        routes={"email": mail_route(smtp.port)}, scores=Hour(), link="https://m.example/a/{id}"
    )
    house.fire()
    (mail,) = smtp.mails
    assert mail["Subject"] == "[CRITICAL] db-1: cpu 97, expected 41"
    assert mail["To"] == "ops@example.com"
    assert mail["Idempotency-Key"] == "millrace-1-0-fired-email"
    parts = {p.get_content_type(): p for p in mail.walk()}
    html = parts["text/html"].get_content()
    assert 'src="cid:score.png"' in html
    assert parts["image/png"]["Content-ID"] == "<score.png>"
    assert parts["image/png"].get_content().startswith(b"\x89PNG")
    for text in (html, parts["text/plain"].get_content()):
        assert text.index("cpu") < text.index("memory") < text.index("disk")
        for word in ("97", "41", "78 %", "The last hour:", "1 critical", "acknowledge 1"):
            assert word in text
    assert "https://m.example/a/" in html


def test_a_mail_server_that_puts_off_gets_it_later(make_house: Any, smtp: SmtpSink) -> None:
    house: House = make_house(routes={"email": mail_route(smtp.port)})
    smtp.refuse = 1
    house.fire()
    assert smtp.mails == []
    assert house.rows("notifications")[0]["status"] == "waiting"
    house.turn(1)
    assert len(smtp.mails) == 1


def test_nobody_at_the_mail_servers_door(make_house: Any, smtp: SmtpSink) -> None:
    smtp.close()
    house: House = make_house(routes={"email": mail_route(smtp.port)})
    house.fire()
    (row,) = house.rows("notifications")
    assert "127.0.0.1" in row["error"]


@pytest.mark.parametrize("scores", [Broken(), None], ids=["broken", "none"])
def test_without_scores_there_is_no_picture_but_an_alert(
    make_house: Any, smtp: SmtpSink, scores: Any
) -> None:
    house: House = make_house(routes={"email": mail_route(smtp.port)}, scores=scores)
    house.fire()
    (mail,) = smtp.mails
    parts = {p.get_content_type(): p for p in mail.walk()}
    assert "image/png" not in parts
    why = "the warehouse is away" if scores else "no scores of the last hour are kept"
    assert f"No plot: {why}" in parts["text/html"].get_content()


def test_a_webhook_through_apprise(make_house: Any, http: HttpSink) -> None:
    per_message = {"+Idempotency-Key": "{key}", ":alert": "{alert}"}
    url = f"json://127.0.0.1:{http.port}/hook"
    route = Route(AppriseSender(url, "text", picture=False, per_message=per_message))
    house: House = make_house(routes={"webhook": route})
    http.answers = [500]
    house.fire()
    house.turn(1)
    house.turn(15)
    keys = [r.headers["idempotency-key"] for r in http.requests]
    first, end = "millrace-1-0-fired-webhook", "millrace-1-1-resolved-webhook"
    assert keys == [first, first, end]
    sent = json.loads(http.requests[1].body)
    assert sent["title"] == "[CRITICAL] db-1: cpu 97, expected 41"
    assert (sent["type"], sent["alert"]) == ("failure", "1")
    assert "What moved" in sent["message"]
    assert json.loads(http.requests[-1].body)["type"] == "success"


def test_a_text_message_is_the_subject_alone(make_house: Any, http: HttpSink) -> None:
    route = Route(AppriseSender(f"json://127.0.0.1:{http.port}/sms", "short", picture=False))
    house: House = make_house(routes={"sms": route})
    house.fire()
    sent = json.loads(http.requests[0].body)
    assert sent["message"] == "[CRITICAL] db-1: cpu 97, expected 41"


@pytest.mark.parametrize(
    ("url", "form", "says"),
    [
        ("nonsense://secret@host", "text", r"Apprise cannot use this URL \(nonsense://…\)"),
        ("", "text", "no scheme"),
        ("json://host", "pdf", "form='pdf'"),
    ],
)
def test_a_bad_url_is_named_without_its_secret(url: str, form: str, says: str) -> None:
    with pytest.raises(AlertConfigError, match=says) as raised:
        AppriseSender(url, form, picture=False)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("name", ["email", "slack", "sms", "pagerduty", "webhook"])
def test_the_services_of_the_config_are_known_to_apprise(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from scripts.entrypoint import CONFIGS

    urls = {
        "email": "mailtos://u:p@example.com?to=oncall@example.com",
        "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops",
        "sms": "twilio://AC0123456789abcdef0123456789abcdef:0123456789abcdef0123456789abcdef"
        "@15551234567/15557654321",
        "pagerduty": "pagerduty://R0123456789abcdef0123456789abcde@0123456789abcdef",
        "webhook": "jsons://hooks.example.com/millrace",
    }
    monkeypatch.setenv(f"MILLRACE_ALERT_{name.upper()}_URL", urls[name])
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("alert", [f"alerts/routes=[{name}]", "paths.root=/tmp"])
    route = instantiate(cfg.alerts.routes[name])
    assert route.news({"severity": ["critical"]}, "fired", None) == "fired"


def test_a_picture_of_a_busy_hour_keeps_its_peaks() -> None:
    from pipelines.alerts.plot import thinned

    time = np.arange(500_000)
    score = np.zeros(500_000)
    score[123_456], score[400_001] = 9.0, np.nan
    kept = thinned(ScoreSeries(time, score, np.ones(500_000)))
    assert len(kept) == 2_000
    assert {123_456, 400_001} <= set(kept.tolist())


def test_stored_scores_are_read(store: Any) -> None:
    import polars as pl

    from pipelines.alerts.history import StoredScores

    asked: list[Any] = []

    def reader(*arguments: Any) -> pl.DataFrame:
        asked.extend(arguments)
        frame = pl.DataFrame({"timestamp": [2_000_000, 1_000_000], "score": [None, 1.5],
                              "threshold": [3.0, 3.0]})  # fmt: skip
        return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))

    series = StoredScores(store, reader, "/scores").read("db-1", 0, 60 * MINUTE)
    assert asked[0] == "/scores"
    assert asked[-1] == "db-1"
    assert series.time.tolist() == [1_000_000, 2_000_000]
    assert series.score[0] == 1.5
    assert np.isnan(series.score[1])
