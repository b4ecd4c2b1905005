"""The feed-forward block."""

from weightless.program.operators.feedforward.promise import NormFfnAdd

__all__ = ["NormFfnAdd"]
