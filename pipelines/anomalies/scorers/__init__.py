"""Where windows become scores: in process, or by a model server."""
