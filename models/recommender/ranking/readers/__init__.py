"""Readers of rows with labels: MovieLens likes, the feature store's impressions, Criteo."""
