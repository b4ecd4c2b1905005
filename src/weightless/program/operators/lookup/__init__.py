"""Rows fetched by token, position or number, kept streams, and the history of tokens."""

from weightless.program.operators.lookup.promise import (
    AcceptToken,
    AddKept,
    AddRow,
    GatherHashed,
    GatherPosition,
    GatherRow,
    Keep,
)

__all__ = ["AcceptToken", "AddKept", "AddRow", "GatherHashed", "GatherPosition", "GatherRow", "Keep"]
