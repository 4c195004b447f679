"""From a user to a list of items, in two stages: many candidates, then their order."""
