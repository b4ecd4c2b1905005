"""The card: tiled attention with a running softmax, forwards."""

from __future__ import annotations

from weightless.deck.card import Card, Check, Pinned
from weightless.deck.cards.flash_attention import checks_edges as edges
from weightless.deck.cards.flash_attention import checks_values as values

PINNED = Pinned(
    "flash_attention_fwd",
    ("Q", "K", "V", "tile_size", "causal", "q_offset", "window", "key_padding_mask"),
    optional=("q_offset", "window", "key_padding_mask"),
    also=("flash_attention", "flash_attention_forward", "flash_attn_fwd", "flash_fwd", "tiled_attention"),
    parameter_also=(
        ("Q", ("q", "query", "queries")),
        ("K", ("k", "key", "keys")),
        ("V", ("v", "value", "values")),
        ("tile_size", ("T", "tile", "block_size", "block")),
        ("causal", ("is_causal", "causal_mask")),
    ),
)
CARD = Card(
    "flash_attention",
    "Attention in tiles, forwards",
    "hard",
    4,
    checks=(
        Check("contract", "a plain call gives (B, H, N, D) in the type of Q", values.plain_call),
        Check("prompt", "N 256, D 64, tiles of 64: the naive output to 1e-4", values.prompt_values),
        Check("prompt", "N 4096 in tiles of 128: some rows against the naive output", values.prompt_large),
        Check("hidden", "float64 at ragged sizes, to rounding", values.ragged_sizes),
        Check("hidden", "float32 as exact as a plain float32 attention", values.single),
        Check("hidden", "without the causal mask every query sees every key", values.not_causal),
        Check("hidden", "the tile size changes nothing but rounding", values.tile_sizes),
        Check("hidden", "what comes later changes nothing before it", values.prefixes),
        Check("hidden", "batches and heads are independent, values enter linearly", values.independence),
        Check("adversarial", "N = 1, D = 1, tiles of 1, tiles larger than N", edges.smallest),
        Check("adversarial", "scores of 10,000 in either direction", edges.huge_scores),
        Check("adversarial", "every tile raises the maximum, every tile lowers it", edges.rising_and_falling),
        Check("adversarial", "Q, K and V are left alone", edges.inputs_survive),
        Check("adversarial", "offsets, windows and padding, where they are offered", edges.offered_masks),
        Check("adversarial", "queries that see no key, where they can occur", edges.empty_rows),
        Check("efficiency", "memory grows as N, not as N squared", edges.memory),
        Check("efficiency", "tiles above the diagonal are skipped", edges.skipped_tiles),
        Check("efficiency", "processor time beside ours", edges.time_beside_ours),
    ),
    library=("weightless.ops.flash_attention",),
    pinned=(PINNED,),
)
