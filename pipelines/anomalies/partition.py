"""Which partition a source's telemetry goes to: all of a source's events are in one, in order."""

from __future__ import annotations

import zlib


def partition_of(source: str, partitions: int) -> int:
    """The same everywhere and for ever: CRC-32 of the name."""
    return zlib.crc32(source.encode()) % partitions


def partition_stream(stream: str, partition: int) -> str:
    """The name of a partition's stream (Redis); Kafka has partitions of its own."""
    return f"{stream}:{partition}"
