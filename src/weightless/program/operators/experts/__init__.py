"""Experts: a router that chooses a few feed-forward blocks of many, and the chosen ones."""

from weightless.program.operators.experts.promise import ExpertsAdd, Route

__all__ = ["ExpertsAdd", "Route"]
