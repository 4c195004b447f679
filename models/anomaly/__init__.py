"""Anomaly detection: telemetry in, a calibrated score and the reasons out."""
