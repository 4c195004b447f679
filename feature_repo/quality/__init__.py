"""What may enter an offline table, and where the rest goes."""
