"""Linear attention: a matrix of state per head."""

from weightless.program.operators.linear_attention.promise import LinearAttend

__all__ = ["LinearAttend"]
