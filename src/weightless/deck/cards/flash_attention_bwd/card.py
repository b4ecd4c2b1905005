"""The card: gradients of tiled attention, recomputed from O and L."""

from __future__ import annotations

from weightless.deck.card import Card, Check, Pinned
from weightless.deck.cards.flash_attention_bwd import checks_edges as edges
from weightless.deck.cards.flash_attention_bwd import checks_gradients as gradients

ALSO_QKV = (
    ("Q", ("q", "query", "queries")),
    ("K", ("k", "key", "keys")),
    ("V", ("v", "value", "values")),
)
ALSO_REST = (
    ("tile_size", ("T", "tile", "block_size", "block")),
    ("causal", ("is_causal", "causal_mask")),
)
PINNED = (
    Pinned(
        "flash_attention_fwd",
        ("Q", "K", "V", "tile_size", "causal", "q_offset"),
        optional=("q_offset",),
        also=("flash_attention_forward", "flash_attn_fwd", "flash_fwd", "forward"),
        parameter_also=(*ALSO_QKV, *ALSO_REST),
    ),
    Pinned(
        "flash_attention_bwd",
        ("dO", "cache", "tile_size", "causal", "q_offset"),
        optional=("q_offset",),
        also=("flash_attention_backward", "flash_attn_bwd", "flash_bwd", "backward"),
        parameter_also=(("dO", ("do", "dout", "grad_output", "grad_O")), ("cache", ("ctx", "saved")), *ALSO_REST),
    ),
)
CARD = Card(
    "flash_attention_bwd",
    "Attention in tiles, backwards",
    "extra hard",
    7,
    checks=(
        Check("contract", "the forward pass gives O and a cache of O, L, Q, K and V", gradients.plain_forward),
        Check("contract", "the backward pass gives dQ, dK and dV in the type of Q", gradients.plain_backward),
        Check("prompt", "N 64, D 32, tiles of 16: differences of the loss to 1e-5", gradients.prompt_differences),
        Check("prompt", "N 256, D 64, tiles of 64: naive gradients to 1e-4", gradients.prompt_naive),
        Check("hidden", "O and L at ragged sizes, to rounding", gradients.forward_values),
        Check("hidden", "gradients at ragged sizes, to rounding", gradients.ragged_sizes),
        Check("hidden", "float32 as exact as plain float32 gradients", gradients.single),
        Check("hidden", "without the causal mask", gradients.not_causal),
        Check("hidden", "the tile size, and another one backwards, change nothing", gradients.tile_sizes),
        Check("hidden", "a cache of ours is all that the gradients need", gradients.from_our_cache),
        Check("hidden", "gradients are linear in dO, and heads are independent", gradients.linearity),
        Check("adversarial", "N = 1, D = 1, tiles of 1, tiles larger than N", edges.smallest),
        Check("adversarial", "one vector added to all keys changes nothing", edges.shifted_keys),
        Check("adversarial", "scores of 10,000", edges.huge_scores),
        Check("adversarial", "dO = 0 gives 0, and rows without dO give nothing", edges.zero_upstream),
        Check("adversarial", "queries that see no key, where they are offered", edges.empty_rows),
        Check("adversarial", "inputs and cache are left alone", edges.inputs_survive),
        Check("efficiency", "memory grows as N, not as N squared", edges.memory),
        Check("efficiency", "tiles above the diagonal are skipped", edges.skipped_tiles),
        Check("efficiency", "processor time beside ours", edges.time_beside_ours),
    ),
    library=("weightless.ops.flash_attention",),
    pinned=PINNED,
)
