"""Features over HTTP: reading, pushing, and what the registry knows."""
