"""Attention in tiles, forwards: the library's, with the names of the card.

For a tile of queries, over tiles of keys: m is the largest score so far, l the sum of exp(s - m), O not yet divided.

    m' = max(m, max S)      c = exp(m - m')      l = c l + sum exp(S - m')      O = c O + exp(S - m') V

Why c = exp(m - m') and not its inverse: everything summed so far was taken relative to m and must now be relative to
m' >= m, so it shrinks; exp(m' - m) would make old terms grow, without bound where m is still -inf.

The hazard of a row that has seen nothing yet: m = -inf and l = 0, so exp(-inf - -inf) is NaN.  Under the causal mask
with keys in ascending order this cannot last: the first tile holds key 0, which every query sees.  It can when queries
stand before the first key, with a window, or with padding; the shift is then 0 while m is -inf, and a row that saw
nothing to the end gives 0.

No (N, N) array: the largest things alive are one tile of scores (T, T) and the output.
"""

from __future__ import annotations

import numpy as np

from weightless.ops import flash_attention as tiled


def flash_attention_fwd(
    Q: np.ndarray,
    K: np.ndarray,
    V: np.ndarray,
    tile_size: int,
    causal: bool = True,
    *,
    q_offset: int | None = None,
    window: int | None = None,
    key_padding_mask: np.ndarray | None = None,
) -> np.ndarray:
    """O (B, H, N, D) in the type of Q."""
    masks = {"q_offset": q_offset, "window": window, "key_padding_mask": key_padding_mask}
    return tiled.flash_attention_fwd(Q, K, V, tile_size, causal, **masks)
