"""Floors: cheap models that a deep one must clearly beat, or it is not done.

Contract: `fit(data, train)` with the interactions and the mask of those that train; then
`score(history)`, left-padded graph ids [B, T] → scores [B, V + 1], column 0 being padding.
"""
