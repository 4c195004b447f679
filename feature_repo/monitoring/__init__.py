"""What has become of the features: fresh, complete, plausible, as they were, and as served."""
