"""Feast: what a feature is, how it is computed, and where it is kept."""
