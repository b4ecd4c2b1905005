"""The card of softmax fused with the selection of the k largest.  Floor 9."""
