"""Attention over a cache of stored rows."""

from weightless.program.operators.attention.promise import (
    Attend,
    MatvecAdd,
    NormMatvec,
    RopeAppend,
    check_cache,
    check_heads,
)

__all__ = ["Attend", "MatvecAdd", "NormMatvec", "RopeAppend", "check_cache", "check_heads"]
