"""Telemetry is checked by the fields of the version in force, whichever the gateway serves."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from models.champion import RECORD, promote
from serving.gateway.anomalies.events import Event, EventError
from serving.gateway.anomalies.fields import FieldsInForce
from tests.models.anomaly.retraining.artifacts import put


def event(**fields: float) -> Event:
    return Event("1", "web-1", 0, dict(fields), [])


def takes(fields: FieldsInForce, **given: float) -> bool:
    try:
        fields.check(event(**given))
    except EventError:
        return False
    return True


async def test_another_champions_fields_count_without_a_restart(tmp_path: Path) -> None:
    served = put(tmp_path, "1", ("cpu", "memory"), [0.0, 0.0])
    promote(tmp_path, "anomaly", "1", "first", "ada")
    fields = FieldsInForce(served, max_age_s=0.0)
    put(tmp_path, "2", ("disk", "memory"), [0.0, 0.0])
    await fields.renew()
    assert takes(fields, cpu=1.0)
    assert not takes(fields, disk=1.0)
    promote(tmp_path, "anomaly", "2", "better", "ada")
    await fields.renew()
    assert takes(fields, disk=1.0)
    with pytest.raises(
        EventError, match=r"none of the fields of model anomaly 2; it has \['cpu'\]"
    ):
        fields.check(event(cpu=1.0))


async def test_nobody_looks_all_the_time(tmp_path: Path) -> None:
    served = put(tmp_path, "1", ("cpu",), [0.0])
    fields = FieldsInForce(served, max_age_s=60.0)
    await fields.renew()
    put(tmp_path, "2", ("disk",), [0.0])
    await fields.renew()
    assert not takes(fields, disk=1.0)


async def test_what_cannot_be_read_leaves_what_was_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fields = FieldsInForce(put(tmp_path, "1", ("cpu",), [0.0]), max_age_s=0.0)
    (tmp_path / "anomaly" / RECORD).write_text("{")
    with caplog.at_level(logging.WARNING):
        await fields.renew()
    assert "telemetry is checked by version 1 still" in caplog.text
    (tmp_path / "anomaly" / RECORD).unlink()
    damaged = put(tmp_path, "2", ("disk",), [0.0])
    (damaged.path / "assets" / "fields.json").write_text("[]")
    await fields.renew()
    assert takes(fields, cpu=1.0)
    assert not takes(fields, disk=1.0)


async def test_an_artifact_by_itself_has_no_champion_to_follow(tmp_path: Path) -> None:
    served = put(tmp_path, "1", ("cpu",), [0.0])
    alone = served.path.rename(tmp_path / "elsewhere")
    fields = FieldsInForce(type(served)(alone, served.signature), max_age_s=0.0)
    await fields.renew()
    assert takes(fields, cpu=1.0)
