"""The optimizers, one per file, and `groups`, which gives every parameter to exactly one of them."""
