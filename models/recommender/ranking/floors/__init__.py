"""Cheap models that a deep ranker must beat on the same rows."""
