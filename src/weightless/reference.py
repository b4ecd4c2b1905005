"""The eight algorithms in readable form, in one place: NumPy only, each held to an oracle (tests/ops, tests/decode).

    layer_norm_forward, layer_norm_backward      docs/algorithms/layer_norm.md
    softmax_topk                                 docs/algorithms/softmax_topk.md
    KVCache, PagedKVCache                        docs/algorithms/kv_cache.md
    batched_beam_search                          docs/algorithms/beam_search.md
    flash_attention_fwd, flash_attention_bwd     docs/algorithms/flash_attention.md
    build_tree_mask, verify_and_accept           docs/algorithms/tree_verification.md
    ternary_project                              docs/algorithms/ternary.md

Fast twins with the same signatures: weightless.kernels.dispatch.  Bad input raises ArgumentError, a ValueError.
"""

from weightless.decode.beam_search import batched_beam_search
from weightless.decode.kv_cache import KVCache
from weightless.decode.paged_cache import PagedKVCache
from weightless.decode.tree_verification import build_tree_mask, verify_and_accept
from weightless.ops.flash_attention import flash_attention_bwd, flash_attention_fwd
from weightless.ops.layer_norm import layer_norm_backward, layer_norm_forward
from weightless.ops.softmax_topk import softmax_topk
from weightless.ops.ternary import ternary_project

__all__ = [
    "KVCache",
    "PagedKVCache",
    "batched_beam_search",
    "build_tree_mask",
    "flash_attention_bwd",
    "flash_attention_fwd",
    "layer_norm_backward",
    "layer_norm_forward",
    "softmax_topk",
    "ternary_project",
    "verify_and_accept",
]
