"""Small models that count their own window: one of every family, and where the cache is at its edge."""

from __future__ import annotations

from typing import Any

from contract.configurations.shared import EXACT

from weightless.models import (
    dense,
    experts,
    feather,
    golf,
    gpt2,
    infinigram,
    llama,
    memory,
    mixture,
    ngram,
    qwen3,
    recurrent,
    scan,
)

V = 301

CASES: dict[str, dict[str, Any]] = {
    "dense": {
        "cached": dense.Config(V, 40, 1, n_heads=2, context=33, window_cache=4, **EXACT),
        "cached_exits": dense.Config(
            V, 40, 2, n_heads=2, context=23, exit_after=(1,), exit_threshold=0.5, window_cache=2, **EXACT
        ),
    },
    "experts": {"cached": experts.Config(V, 40, 1, 2, 1, 5, 2, 14, context=23, window_cache=3, **EXACT)},
    "feather": {
        "cached": feather.Config(V, 40, 1, 3, 1, 14, 45, 33, rows_2=97, rows_3=0, window_cache=4, **EXACT),
    },
    "golf": {"cached": golf.Config(V, 36, 2, 2, 1, context=23, window_cache=3, **EXACT)},
    "gpt2": {"cached": gpt2.Config(V, 36, 1, 2, 45, 23, window_cache=4, **EXACT)},
    "infinigram": {"cached": infinigram.Config(V, 3, 33, window_cache=4)},
    "llama": {"cached": llama.Config(V, 52, 1, 4, 2, 18, 45, 23, window_cache=1, **EXACT)},
    "memory": {
        "cached": memory.Config(V, 40, 2, 2, 1, 30, n_slots=49, top_k=3, d_key=6, context=23, window_cache=2, **EXACT),
    },
    "mixture": {
        "cached": mixture.Config(
            V,
            33,
            "dense",
            {"d_model": 40, "n_layers": 1, "n_heads": 2, **EXACT},
            "ngram",
            {"order": 3},
            window_cache=4,
        ),
    },
    "ngram": {
        "cached": ngram.Config(V, 3, context=33, window_cache=4),
        "cached_full_lists": ngram.Config(19, 1, context=560, window_cache=3),
        "cached_six_orders": ngram.Config(19, 2, context=63, window_cache=6),
    },
    "qwen3": {"cached": qwen3.Config(V, 36, 1, 4, 1, 14, 45, 23, window_cache=3, **EXACT)},
    "recurrent": {"cached": recurrent.Config(V, 40, n_heads=2, n_kv_heads=1, context=23, window_cache=4, **EXACT)},
    "scan": {"cached": scan.Config(V, 40, 1, d_state=37, d_ff=45, context=23, weight_format="f32", window_cache=4)},
}
