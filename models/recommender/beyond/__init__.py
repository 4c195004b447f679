"""Beyond accuracy: what kind of lists a model makes, measured on the lists of the evaluation.

Contract of a lens: `fit(data, train)` with the interactions and the mask of those that train;
`see(lists, histories)` for every batch, top lists [B, K] of graph ids, best first, and what their
users touched; `metrics(ks)` at the end, which also forgets. One pass over lists that are there
anyway: a lens costs little beside scoring the catalog.
"""
