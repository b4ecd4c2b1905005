"""The card of batched beam search."""
