"""Floor 7: text out of a packed model."""
