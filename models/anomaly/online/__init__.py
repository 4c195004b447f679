"""Detectors that learn from a stream as it comes, without labels and without training."""
