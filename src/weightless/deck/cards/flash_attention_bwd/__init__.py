"""Gradients of attention in tiles: wording, interface, checks, our solution and its mutants."""
