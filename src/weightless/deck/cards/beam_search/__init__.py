"""The card of batched beam search.  Floor 9."""
