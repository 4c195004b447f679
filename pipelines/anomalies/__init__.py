"""From telemetry on a broker to scored, explained and reviewed anomalies."""
