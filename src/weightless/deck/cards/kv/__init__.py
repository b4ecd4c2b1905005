"""The card of the key-value cache.  Floor 9."""
