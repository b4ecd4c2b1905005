"""Floor 7: what a packed model is worth on held-out text."""
