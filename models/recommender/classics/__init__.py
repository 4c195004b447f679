"""Classics: recommenders that are counted, solved or looked up rather than trained by gradients.

Contract (`classics.model.Classic`): `fit(data, train)` with the interactions and the mask of those
that train, leaves everything that answers need in buffers; `score(history)` gives left-padded
graph ids [B, T] → scores [B, V + 1], column 0 being padding, with operations that ONNX has. So
the evaluator, the export and the servers take a classic as they take a transformer.
"""
