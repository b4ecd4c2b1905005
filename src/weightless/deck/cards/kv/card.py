"""The card `kv`: a key-value cache for sequences of different lengths."""

from __future__ import annotations

from weightless.deck.card import Card, Check, Pinned
from weightless.deck.cards.kv import checks_decoding as decoding
from weightless.deck.cards.kv import checks_edges as edges

CHECKS = (
    Check("contract", "a cache is made, fed and asked", decoding.answers),
    Check("prompt", "one token at a time", decoding.one_token_at_a_time),
    Check("prompt", "several heads", decoding.several_heads),
    Check("prompt", "prompts of different lengths in one batch", decoding.prompts_of_different_lengths),
    Check("hidden", "a prompt in pieces", decoding.pieces_of_a_prompt),
    Check("hidden", "heads that share keys and values", decoding.shared_heads),
    Check("hidden", "layers and caches keep apart", decoding.layers_keep_apart),
    Check("hidden", "any history in float64", decoding.any_history),
    Check("hidden", "any history in float32", decoding.any_history_in_single),
    Check("adversarial", "padding of NaN", edges.padding_of_nan),
    Check("adversarial", "sequences that get no tokens", edges.no_tokens),
    Check("adversarial", "copies of one sequence part", edges.copies_part),
    Check("adversarial", "places are used again", edges.places_are_used_again),
    Check("adversarial", "one of everything", edges.smallest),
    Check("adversarial", "scores of ten thousand", edges.large_scores),
    Check("adversarial", "arrays that change after append", edges.what_was_given_may_change),
    Check("efficiency", "a step does not copy the past", edges.a_step_does_not_copy),
    Check("efficiency", "memory follows the sum of the lengths", edges.memory_follows_the_lengths),
    Check("efficiency", "memory is given back", edges.memory_is_given_back),
    Check("efficiency", "processor time beside ours", edges.speed),
)

CARD = Card(
    name="kv",
    title="A key-value cache",
    difficulty="medium",
    order=3,
    checks=CHECKS,
    library=("weightless.decode.kv_cache",),
    pinned=(
        Pinned(
            "KVCache",
            ("batch_size", "n_layers", "n_heads", "n_kv_heads", "d_head", "dtype"),
            optional=("dtype",),
            also=("KeyValueCache", "KvCache", "Cache", "KVCacheManager", "BatchedKVCache"),
            parameter_also=(
                ("batch_size", ("batch", "n_sequences", "max_batch")),
                ("n_layers", ("num_layers", "layers")),
                ("n_heads", ("num_heads", "n_q_heads")),
                ("n_kv_heads", ("num_kv_heads",)),
                ("d_head", ("head_dim", "d_k", "head_size")),
            ),
        ),
        Pinned("KVCache.append", ("layer", "k", "v", "lengths"), also=("update", "add", "write", "extend")),
        Pinned("KVCache.attend", ("layer", "q", "lengths"), also=("attention", "compute_attention", "forward")),
        Pinned("KVCache.reorder", ("rows",), also=("select", "reindex", "gather", "permute")),
        Pinned("KVCache.lengths", (), also=("get_lengths", "seq_lengths", "sequence_lengths")),
    ),
)
