"""The card of layer normalisation, forwards and backwards.  Floor 9."""
