"""The card `flash_attention`: our solution passes, each known mistake gets its status."""

from __future__ import annotations

from deck.trying import CardTests

ZEROS = """import numpy as np
def flash_attention_fwd(Q, K, V, tile_size, causal=True):
    return np.zeros_like(Q)
"""


class TestFlashAttention(CardTests):
    name = "flash_attention"
    zeros = ZEROS
    not_by_own_tests = frozenset({"no tile skipped"})
