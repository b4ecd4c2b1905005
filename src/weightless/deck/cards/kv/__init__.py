"""The card of the key-value cache."""
