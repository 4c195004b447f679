"""Recommendation: interactions in, ranked items out."""
