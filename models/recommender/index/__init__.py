"""Finding the nearest of many vectors: exactly, or fast enough with a measured loss."""
