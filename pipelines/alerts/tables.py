"""The alerts' tables in the anomaly store. Times are microseconds since 1970 UTC."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.anomalies.store import METADATA

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# One row. Whoever changes alerts updates it first, and so has the turn until the commit.
CURSOR = sa.Table(
    "alert_cursor",
    METADATA,
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),  # of the last anomaly taken in
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

PENDING, FIRING, RESOLVED, EXPIRED = "pending", "firing", "resolved", "expired"
OPEN = (PENDING, FIRING)

ALERTS = sa.Table(
    "alerts",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),  # of its group
    sa.Column("kind", sa.String(16), nullable=False),  # as an anomaly's status
    sa.Column("labels", sa.JSON, nullable=False),  # that the group has in common
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("anomalies", sa.BigInteger, nullable=False),
    sa.Column("suppressed", sa.BigInteger, nullable=False),  # of these, by a silence or a window
    sa.Column("notifications", sa.Integer, nullable=False),
    sa.Column("escalation", sa.Integer, nullable=False),  # steps taken
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("last_seen_at", sa.BigInteger, nullable=False),
    sa.Column("notify_at", sa.BigInteger),  # a pending alert fires then; null: not enough yet
    sa.Column("fired_at", sa.BigInteger),
    sa.Column("notified_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("due_at", sa.BigInteger),  # when time alone will change something
    sa.Column("acknowledged_at", sa.BigInteger),
    sa.Column("acknowledged_by", sa.String(255)),
    sa.Column("acknowledged_why", sa.Text),
    sa.Column("memory", sa.JSON, nullable=False),  # see Alert
    sa.Index("alerts_by_key", "key", "status"),
    sa.Index("alerts_by_due", "status", "due_at"),
)

# Which alert each anomaly belongs to, and why it was kept quiet if it was.
MEMBERS = sa.Table(
    "alert_anomalies",
    METADATA,
    sa.Column("anomaly", sa.String(64), primary_key=True),
    sa.Column("alert", _NUMBER, nullable=False),
    sa.Column("timestamp", sa.BigInteger, nullable=False),  # of the event
    sa.Column("rate", sa.String(255), nullable=False),  # the rule that counted it
    sa.Column("suppressed_by", sa.String(255)),
    sa.Column("duplicate", sa.Boolean, nullable=False),  # of what was notified already
    sa.Index("alert_anomalies_by_alert", "alert", "rate", "timestamp"),
    sa.Index("alert_anomalies_by_suppression", "suppressed_by"),
)

# What happened to an alert, in order; the same thing again only raises `count` and `last_at`.
HISTORY = sa.Table(
    "alert_history",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("alert", _NUMBER, nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("last_at", sa.BigInteger, nullable=False),
    sa.Column("what", sa.String(16), nullable=False),
    sa.Column("rule", sa.String(255), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
)

WAITING, SENT, DEAD, DRY_RUN, LIMITED = "waiting", "sent", "dead", "dry_run", "limited"

NOTIFICATIONS = sa.Table(
    "alert_notifications",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("key", sa.String(255), nullable=False, unique=True),  # receivers may know it again
    sa.Column("alert", _NUMBER, nullable=False),
    sa.Column("route", sa.String(64), nullable=False),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("message", sa.JSON, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("next_at", sa.BigInteger, nullable=False),  # no attempt before; claims move it on
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("error", sa.Text),
    sa.Column("response", sa.Text),
    sa.Index("alert_notifications_by_status", "status", "next_at"),
    sa.Index("alert_notifications_by_alert", "alert", "route"),
)

SILENCES = sa.Table(
    "alert_silences",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("matchers", sa.JSON, nullable=False),
    sa.Column("starts_at", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Column("who", sa.String(255), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("removed_by", sa.String(255)),
    sa.Column("reported", sa.Boolean, nullable=False),  # that it ended, and whether in vain
)

MAINTENANCE = sa.Table(
    "alert_maintenance",
    METADATA,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("matchers", sa.JSON, nullable=False),
    sa.Column("schedule", sa.JSON, nullable=False),  # settings of Once or Weekly
    sa.Column("who", sa.String(255), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)
