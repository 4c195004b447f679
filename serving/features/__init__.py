"""Feature values for answers: read from the online store, kept in memory, computed at request."""
