"""Floor 4: layers that know everything about themselves, and the stack that makes a model of them."""
