"""Thin Hydra entry points, one a verb: `python scripts/<verb>.py key=value …`."""
