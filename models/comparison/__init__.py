"""Runs side by side: read from their folders, drawn, and laid out as one page."""
