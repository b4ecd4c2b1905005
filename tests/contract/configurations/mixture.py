"""Small configurations of mixture, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import mixture

CASES = {
    "dense_and_ngram": mixture.Config(
        V, 33, "dense", {"d_model": 40, "n_layers": 1, "n_heads": 2, **EXACT}, "ngram", {"order": 4}
    ),
    "feather_and_infinigram": mixture.Config(
        V,
        23,
        "feather",
        {"d_model": 72, "n_layers": 1, "n_heads": 2, "d_head": 18, "d_ff": 46, "rows_2": 97, "rows_3": 0},
        "infinigram",
        {"max_length": 3},
    ),
    "feather_and_bigrams": mixture.Config(
        V,
        23,
        "feather",
        {
            "d_model": 40,
            "n_layers": 1,
            "n_heads": 2,
            "d_head": 14,
            "d_ff": 45,
            "rows_2": 0,
            "rows_3": 97,
            "head": "full",
            **EXACT,
        },
        "ngram",
        {"order": 2},
    ),
}
