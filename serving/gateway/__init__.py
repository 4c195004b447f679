"""The HTTP door: one address for answers, whatever happens behind it."""
