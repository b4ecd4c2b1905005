"""Rows fetched by token, and the history of tokens."""

from weightless.program.operators.lookup.promise import AcceptToken, GatherHashed, GatherPosition, GatherRow

__all__ = ["AcceptToken", "GatherHashed", "GatherPosition", "GatherRow"]
