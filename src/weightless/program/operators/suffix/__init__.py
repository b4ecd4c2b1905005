"""An infinity-gram over a suffix array."""

from weightless.program.operators.suffix.promise import MAX_LENGTH, SuffixExtend, SuffixFull, SuffixSample, SuffixScore

__all__ = ["MAX_LENGTH", "SuffixExtend", "SuffixFull", "SuffixSample", "SuffixScore"]
