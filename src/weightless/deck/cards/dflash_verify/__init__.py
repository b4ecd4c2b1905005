"""Verification of a tree of drafted tokens: wording, interface, checks, our solution and its mutants."""
