"""Anomalies over HTTP: judging events, taking telemetry in, listing what was found, verdicts."""
