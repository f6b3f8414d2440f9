"""Which distance means the same person: error rates, thresholds, filters, and what a probability is worth."""
