"""Attention in tiles, forwards: wording, interface, checks, our solution and its mutants."""
