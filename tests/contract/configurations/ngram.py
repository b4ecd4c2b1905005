"""Small configurations of ngram, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import V

from weightless.models import ngram

CASES = {
    **{f"order_{n}": ngram.Config(V, n, context=33) for n in range(1, 6)},
    "order_4_pruned": ngram.Config(V, 4, context=33, min_counts=(1, 1, 2, 2)),
}
