"""Small models whose tokens may leave early: threshold given, so that about half of them do."""

from __future__ import annotations

from typing import Any

from weightless.models import dense, experts, feather, golf, gpt2, llama, memory, mixture, qwen3, scan

V = 301
EXACT = {"weight_format": "f32", "kv_format": "f32"}

CASES: dict[str, dict[str, Any]] = {
    "dense": {
        "exits_after_two_blocks": dense.Config(
            V, 40, 4, n_heads=2, context=23, exit_after=(1, 2), exit_threshold=0.5, **EXACT
        ),
        "exit_with_windows_values_and_norms": dense.Config(
            V,
            72,
            3,
            n_heads=4,
            n_kv_heads=1,
            d_ff=45,
            context=33,
            tied=False,
            qk_norm="weighted",
            q_gain=1.5,
            value_every=1,
            window=9,
            window_pattern="LS",
            norm="sandwich",
            weight_format="int8",
            kv_format="f32",
            exit_after=(1,),
            exit_threshold=0.4,
        ),
        "exit_to_a_class_head": dense.Config(
            V,
            40,
            2,
            n_heads=2,
            context=23,
            tied=False,
            head="class",
            norm="post",
            positions="none",
            exit_after=(1,),
            exit_threshold=0.6,
            **EXACT,
        ),
    },
    "experts": {
        "exit_past_the_second_block": experts.Config(
            V, 40, 2, 2, 1, 5, 2, 14, context=23, exit_after=(1,), exit_threshold=0.5, **EXACT
        ),
    },
    "scan": {
        "exits_past_vectors_and_attention": scan.Config(
            V,
            40,
            3,
            d_state=37,
            layer_pattern="SA",
            conv=3,
            n_heads=2,
            d_ff=45,
            context=33,
            exit_after=(1, 2),
            exit_threshold=0.5,
            **EXACT,
        ),
        "exit_past_matrices_with_a_convolution": scan.Config(
            V,
            40,
            2,
            "delta",
            28,
            2,
            conv=4,
            d_ff=45,
            context=33,
            tied=False,
            weight_format="int8",
            exit_after=(1,),
            exit_threshold=0.5,
        ),
        "exit_past_rounded_matrices": scan.Config(
            V,
            72,
            2,
            "gated",
            36,
            4,
            "bf16",
            d_ff=46,
            context=23,
            weight_format="f32",
            exit_after=(1,),
            exit_threshold=0.5,
        ),
    },
    "feather": {
        "exit_behind_the_first": feather.Config(
            V, 40, 2, 3, 1, 14, 45, 23, rows_2=97, rows_3=0, exit_after=(1,), exit_threshold=0.5, **EXACT
        ),
        "exit_past_a_window": feather.Config(
            V,
            40,
            3,
            2,
            1,
            14,
            44,
            33,
            97,
            0,
            layer_pattern="SWA",
            window=5,
            exit_after=(1,),
            exit_threshold=0.5,
            **EXACT,
        ),
    },
    "gpt2": {"exit_with_biases": gpt2.Config(V, 36, 2, 2, 45, 23, exit_after=(1,), exit_threshold=0.5, **EXACT)},
    "llama": {
        "exit_with_wide_heads": llama.Config(
            V, 52, 2, 4, 2, 18, 45, 23, attention_bias=True, exit_after=(1,), exit_threshold=0.5, **EXACT
        ),
    },
    "qwen3": {
        "exit_past_normed_heads": qwen3.Config(
            V, 36, 2, 4, 1, 14, 45, 23, exit_after=(1,), exit_threshold=0.5, **EXACT
        ),
    },
    "golf": {
        "exits_in_both_halves": golf.Config(
            V, 36, 5, 2, 1, context=33, exit_after=(1, 3), exit_threshold=0.55, **EXACT
        ),
    },
    "memory": {
        "exit_past_a_memory": memory.Config(
            V,
            40,
            2,
            2,
            1,
            30,
            n_slots=49,
            top_k=3,
            d_key=6,
            context=23,
            exit_after=(1,),
            exit_threshold=0.5,
            **EXACT,
        ),
    },
    "mixture": {
        "exits_and_bigrams": mixture.Config(
            V,
            23,
            "dense",
            {"d_model": 40, "n_layers": 2, "n_heads": 2, "exit_after": [1], "exit_threshold": 0.5, **EXACT},
            "ngram",
            {"order": 2},
        ),
    },
}
