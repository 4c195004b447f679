"""The offline store: point-in-time correct joins without the inequality explosion."""
