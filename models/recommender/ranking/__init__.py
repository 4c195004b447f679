"""Ranking: rows of user, item and moment in, the probability of a positive answer out."""
