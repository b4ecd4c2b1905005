"""Small configurations of dense, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import dense

CASES = {
    "tied_mha_swiglu_f32": dense.Config(V, 40, 2, n_heads=2, context=23, **EXACT),
    "untied_gqa_silu_f32": dense.Config(
        V, 72, 2, n_heads=4, n_kv_heads=2, d_ff=45, context=33, tied=False, activation="silu", **EXACT
    ),
    "untied_mqa_relu2_bf16": dense.Config(
        V, 72, 3, n_heads=4, n_kv_heads=1, d_ff=45, context=65, tied=False, activation="relu2"
    ),
    "tied_mqa_swiglu_int8": dense.Config(
        V, 72, 2, n_heads=4, n_kv_heads=1, d_ff=45, context=33, weight_format="int8", kv_format="int8"
    ),
    "tied_gqa_int8_whole_products": dense.Config(
        V,
        72,
        2,
        n_heads=4,
        n_kv_heads=2,
        d_ff=45,
        context=33,
        weight_format="int8",
        kv_format="f32",
        activation_format="int8",
    ),
    "post_norm_gelu_matched": dense.Config(
        V, 40, 2, n_heads=2, d_ff=30, context=23, norm="post", activation="gelu", match_d_ff=True, **EXACT
    ),
    "no_norm_no_positions": dense.Config(V, 40, 2, n_heads=2, context=23, norm="none", positions="none", **EXACT),
    "sandwich_learned_positions": dense.Config(
        V,
        72,
        2,
        n_heads=4,
        n_kv_heads=2,
        d_ff=45,
        context=33,
        norm="sandwich",
        positions="learned",
        residual_scale="depth",
        tied=False,
        weight_format="int8",
        kv_format="f32",
    ),
    "interleaved_weighted_qk_norm_gains": dense.Config(
        V,
        72,
        2,
        n_heads=4,
        n_kv_heads=1,
        d_ff=45,
        context=33,
        positions="rope_interleaved",
        qk_norm="weighted",
        q_gain=1.5,
        residual_scale="channel",
        zero_init=True,
        kv_format="int8",
    ),
    "factorised_tied_softcap_windows": dense.Config(
        V,
        40,
        4,
        n_heads=2,
        context=33,
        d_embed=14,
        softcap=12.0,
        window=5,
        window_pattern="SSSL",
        qk_norm="bare",
        weight_format="int4",
        kv_format="f32",
    ),
    "factorised_untied_value_and_bigram_rows": dense.Config(
        V,
        72,
        2,
        n_heads=4,
        n_kv_heads=2,
        d_ff=45,
        context=33,
        tied=False,
        d_embed=18,
        value_every=2,
        bigram_rows=97,
    ),
    "nope_with_gain_and_norm": dense.Config(
        V, 40, 1, n_heads=2, context=23, positions="none", qk_norm="weighted", q_gain=0.7, value_every=1, **EXACT
    ),
    "class_head_without_norm": dense.Config(
        V, 40, 1, n_heads=2, context=23, tied=False, head="class", norm="none", **EXACT
    ),
    "three_levels": dense.Config(V, 40, 1, n_heads=2, context=23, tied=False, head="class3", **EXACT),
    "three_levels_few_classes_post_norm": dense.Config(
        300,
        72,
        1,
        n_heads=2,
        context=23,
        tied=False,
        head="class3",
        n_classes=3,
        classes_by="frequency",
        norm="post",
        weight_format="int8",
    ),
    "untied_mha_swiglu_int4": dense.Config(
        V, 72, 1, n_heads=2, d_ff=90, context=23, tied=False, weight_format="int4", kv_format="int8"
    ),
}
