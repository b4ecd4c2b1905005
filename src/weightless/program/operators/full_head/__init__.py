"""The ordinary softmax head."""

from weightless.program.operators.full_head.promise import LogitsFull, LogitsSample, LogitsScore, draw

__all__ = ["LogitsFull", "LogitsSample", "LogitsScore", "draw"]
