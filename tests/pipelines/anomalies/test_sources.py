"""What is remembered of sources: windows, what comes twice, late, or too late."""

from __future__ import annotations

import numpy as np
import pytest

from models.anomaly.telemetry import Telemetry
from pipelines.anomalies.sources import DUPLICATE, FRESH, LATE, NO_ID, TOO_LATE, Sources, identities

SECOND = 1_000_000


def take(
    sources: Sources, name: str, seconds: list[int], ids: list[str | None] | None = None
) -> list[int]:
    """One batch of one source, as the analysis takes it; kinds in order of time."""
    time_us = np.sort(np.array(seconds)) * SECOND
    row = sources.rows([name] * len(seconds), np.zeros(len(seconds), np.int32))
    identity = identities(ids or [None] * len(seconds))
    kind = sources.admit(row, time_us, identity)
    kept = (kind == FRESH) | (kind == LATE)
    values = np.repeat(np.array(seconds, np.float32)[:, None], 2, axis=1)
    sources.remember(
        row[kept], time_us[kept], identity[kept], np.sort(values, axis=0)[kept], kind[kept]
    )
    return kind.tolist()


def test_the_rule_for_what_comes_twice_late_or_too_late() -> None:
    sources = Sources(("a", "b"), 3, remembered=4, late_s=10)
    assert take(sources, "s", [100, 105, 105]) == [FRESH, FRESH, DUPLICATE]
    assert take(sources, "s", [100]) == [DUPLICATE]
    assert take(sources, "s", [103]) == [LATE]
    assert take(sources, "s", [103]) == [DUPLICATE], "a late one is remembered too"
    assert take(sources, "s", [94, 95]) == [TOO_LATE, LATE], "late by more than ten seconds"
    assert sources.times[0].tolist() == [n * SECOND for n in (95, 100, 103, 105)]
    assert take(sources, "s", [96]) == [LATE]
    assert take(sources, "s", [95]) == [TOO_LATE], "no more is remembered: it may have come before"
    assert take(sources, "s", [106]) == [FRESH]
    assert sources.history[0, :, 0].tolist() == [105, 106], "late ones are in no window"


def test_the_same_message_id_is_the_same_event() -> None:
    sources = Sources(("a", "b"), 1, remembered=4, late_s=10)
    assert take(sources, "s", [1, 2, 3], ["x", "y", "x"]) == [FRESH, FRESH, DUPLICATE]
    assert take(sources, "s", [9], ["y"]) == [DUPLICATE]
    assert take(sources, "t", [9], ["y"]) == [FRESH], "of another source it is another event"
    assert identities([None])[0] == NO_ID


@pytest.mark.parametrize("window", [1, 2, 5])
def test_windows_over_batches_are_those_of_all_events_together(window: int) -> None:
    rng = np.random.default_rng(window)
    count, names = 400, [f"s{n}" for n in range(7)]
    source = rng.integers(0, 7, count)
    values = rng.normal(0, 1, (count, 2)).astype(np.float32)
    whole = Telemetry.of(values, time=np.arange(count), source=[names[s] for s in source])
    wanted = {
        (whole.sources[s], t): w
        for s, t, w in zip(whole.source, whole.time, whole.windows(window), strict=True)
    }
    sources = Sources(("a", "b"), window, remembered=8, late_s=10)
    done = 0
    for size in (1, 3, 50, 0, 146, 200):
        chosen = np.arange(done, done + size)
        done += size
        row = sources.rows([names[s] for s in source[chosen]], np.zeros(size, np.int32))
        order = np.lexsort((chosen, row))
        row, chosen = row[order], chosen[order]
        if not size:
            continue
        found = sources.windows(row, values[chosen])
        for r, t, got in zip(row, chosen, found, strict=True):
            np.testing.assert_array_equal(got, wanted[sources.names[r], t])
        none = np.full(size, NO_ID)
        sources.remember(row, chosen * SECOND, none, values[chosen], np.zeros(size, np.int8))


def test_a_state_goes_to_another_processor_and_to_another_model() -> None:
    one = Sources(("a", "b"), 3, remembered=4, late_s=10)
    take(one, "s", [1, 2, 3])
    take(one, "t", [7])
    one.partition[:] = [0, 1]
    same = Sources(("a", "b"), 3, remembered=4, late_s=10)
    rows = same.restore(one.state(one.of(0)), 0)
    assert same.names == ["s"]
    np.testing.assert_array_equal(same.history[rows], one.history[:1])
    np.testing.assert_array_equal(same.times[rows], one.times[:1])
    longer = Sources(("b", "c"), 5, remembered=2, late_s=10)
    longer.restore(one.state(one.of(0)), 0)
    assert np.isnan(longer.history[0, :2]).all()
    assert longer.history[0, 2:, 0].tolist()[-2:] == [2, 3]
    assert np.isnan(longer.history[0, :, 1]).all()
    assert longer.times[0].tolist() == [2 * SECOND, 3 * SECOND]
    one.keep(one.of(1))
    assert one.names == ["t"]
    assert take(one, "t", [7, 8]) == [DUPLICATE, FRESH]
