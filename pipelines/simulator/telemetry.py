"""Service telemetry of one day, with incidents of four kinds whose windows are kept as truth."""

from __future__ import annotations

import numpy as np
import polars as pl

KINDS = ("spike", "drift", "plateau", "correlated")


def measure(
    sources: int,
    interval_s: int,
    day: int,
    midnight_us: int,
    incident_rate: float,
    rng: np.random.Generator,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One row for each source and interval, and the day's incidents.

    Incidents: `spike` (short jump of latency), `drift` (memory climbs), `plateau` (CPU stuck high),
    `correlated` (errors and latency together while requests fall).
    """
    steps = 86_400 // interval_s
    second = np.arange(steps) * interval_s
    daily = 0.5 + 0.4 * np.sin(2 * np.pi * (second / 86_400 - 0.3))
    base = rng.uniform(0.7, 1.3, (sources, 1))
    load = np.clip(daily * base + rng.normal(0, 0.03, (sources, steps)), 0.02, None)
    requests = 400 * load
    cpu = 15 + 45 * load + rng.normal(0, 2, (sources, steps))
    memory = 40 + 8 * load + rng.normal(0, 0.6, (sources, steps))
    latency = 20 + 30 * load**2 + rng.gamma(2, 1.5, (sources, steps))
    errors = rng.poisson(0.3 * load)

    incidents = []
    for source in np.flatnonzero(rng.random(sources) < incident_rate):
        kind = KINDS[rng.integers(len(KINDS))]
        width = {"spike": 3, "drift": 40, "plateau": 25, "correlated": 15}[kind]
        width = min(width, steps // 3)
        first = int(rng.integers(steps // 10, steps - width))
        at = slice(first, first + width)
        if kind == "spike":
            latency[source, at] *= rng.uniform(5, 10)
        elif kind == "drift":
            memory[source, at] += np.linspace(0, rng.uniform(20, 40), width)
        elif kind == "plateau":
            cpu[source, at] = rng.uniform(93, 99) + rng.normal(0, 0.3, width)
        else:
            errors[source, at] += rng.poisson(25, width)
            latency[source, at] *= 3
            requests[source, at] *= 0.4
        incidents.append((f"host-{source:04d}", kind, second[first], second[at][-1] + interval_s))

    micro = midnight_us + np.tile(second, (sources, 1)) * 1_000_000
    names = np.repeat([f"host-{i:04d}" for i in range(sources)], steps)
    rows = pl.DataFrame(
        {
            "source": names,
            "cpu": np.clip(cpu, 0, 100).ravel(),
            "memory": np.clip(memory, 0, 100).ravel(),
            "latency_ms": latency.ravel(),
            # As all fields: a number that a stream has landed beside these need not be whole.
            "errors": errors.ravel().astype(np.float64),
            "requests": np.round(requests).ravel(),
            "timestamp": micro.ravel(),
        }
    ).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    truth = pl.DataFrame(
        incidents,
        schema={"source": pl.String, "kind": pl.String, "start": pl.Int64, "end": pl.Int64},
        orient="row",
    ).with_columns(
        (pl.col("start", "end") * 1_000_000 + midnight_us).cast(pl.Datetime("us", "UTC"))
    )
    return rows.sort("timestamp", "source"), truth
