"""Features that events update within a second: a journal of events, and rows computed from it."""
