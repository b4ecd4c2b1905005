"""Leaving early: a test that decides which of two stretches runs."""

from weightless.program.operators.exits.promise import ExitTest

__all__ = ["ExitTest"]
