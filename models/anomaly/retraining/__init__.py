"""Learning from verdicts: labels, what is kept back, planted anomalies, and the comparison."""
