"""The card `flash_attention_bwd`: our solution passes, each known mistake gets its status."""

from __future__ import annotations

from deck.trying import CardTests

ZEROS = """import numpy as np
def flash_attention_fwd(Q, K, V, tile_size, causal=True):
    O = np.zeros_like(Q)
    return O, {"O": O, "L": np.zeros(Q.shape[:3]), "Q": Q, "K": K, "V": V}
def flash_attention_bwd(dO, cache, tile_size, causal=True):
    return tuple(np.zeros_like(cache[name]) for name in "QKV")
"""


class TestFlashAttentionBackwards(CardTests):
    name = "flash_attention_bwd"
    zeros = ZEROS
    not_by_own_tests = frozenset({"no tile skipped"})
