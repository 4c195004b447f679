"""Two-tower retrieval: users and items as vectors, items known by what they are, not only by id."""
