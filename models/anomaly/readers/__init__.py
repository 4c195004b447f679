"""Readers: one format each, all giving `Telemetry`."""
