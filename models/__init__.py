"""What learns: pure PyTorch and Lightning, and the baselines that a deep model must beat."""
