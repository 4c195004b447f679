"""Texts over HTTP: what they say, how surely, and why."""
