"""What Feast's registry does not keep: who changed a definition, when, why, and what it broke."""
