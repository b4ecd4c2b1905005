"""Rows fetched by token, and the history of tokens."""

from weightless.program.operators.lookup.promise import AcceptToken, GatherHashed, GatherRow

__all__ = ["AcceptToken", "GatherHashed", "GatherRow"]
