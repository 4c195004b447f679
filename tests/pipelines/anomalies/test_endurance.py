"""kill -9 of processors and of Redis at random moments; `endurance.py` does it at length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.anomalies.endurance import FAULTS, endure


@pytest.mark.slow
@pytest.mark.services
def test_nothing_is_lost_and_nothing_is_told_twice(tmp_path: Path) -> None:
    found = endure(tmp_path / "root", 20_000, kills=6, per_s=1500.0, seed=1)
    assert found["processor_kills"]
    assert found["redis_kills"]
    assert found["anomalies"] > 200
    assert {name: found[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0)
