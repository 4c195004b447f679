"""Online stores that keep a view's promise of freshness."""
