"""Networks from token ids to logits."""
