"""The Numenta Anomaly Benchmark: its files, its scoring rule, and simple detectors beside ours."""
