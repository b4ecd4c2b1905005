"""Is it a predictor?  Checks asked of anything that claims probabilities, foreign code in a process of its own."""
