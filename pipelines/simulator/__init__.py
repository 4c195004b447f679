"""The embedded marketplace: users, a catalog, events, reviews, telemetry, with planted truth."""
