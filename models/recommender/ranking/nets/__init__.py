"""Networks over dense numbers and embedding bags."""
