"""Training with ternary weights: wording, interface, the verifier of checkpoints, our solution and its mutants."""
