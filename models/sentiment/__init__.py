"""Sentiment: raw text in, calibrated probabilities and an honest "unsure" out."""
