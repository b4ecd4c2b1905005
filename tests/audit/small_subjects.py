"""The contract suite's small models as subjects of an audit."""

from __future__ import annotations

from contract.cases import bench

from weightless.audit.counters.subjects import Subject


def subject(family: str, case: str) -> Subject:
    """One small model with its stretch of tokens."""
    b = bench(family, case)
    return Subject(case, family, b.config, b.program, b.weights, b.stream, "made tokens")
