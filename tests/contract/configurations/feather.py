"""Small configurations of feather, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import feather

CASES = {
    "as_it_comes": feather.Config(V, 120, 2, 3, 1, 20, 90, context=65, rows_2=97, rows_3=101),
    "all_f32": feather.Config(V, 40, 2, 3, 1, 14, 45, 23, rows_2=97, rows_3=101, table_format="f32", **EXACT),
    "full_head_bigrams": feather.Config(
        V,
        72,
        1,
        4,
        2,
        18,
        45,
        33,
        97,
        0,
        "full",
        activation="silu",
        weight_format="bf16",
        table_format="f16",
        kv_format="bf16",
    ),
    "no_tables_few_classes": feather.Config(
        300,
        40,
        1,
        2,
        2,
        10,
        46,
        23,
        0,
        0,
        n_classes=7,
        classes_by="frequency",
        activation="relu2",
        weight_format="int8",
        table_format="bf16",
        kv_format="f32",
    ),
    "window_then_nothing_three_levels": feather.Config(
        V, 72, 2, 2, 1, 18, 46, 33, 97, 0, "class3", layer_pattern="WN", window=5, kv_format="f32"
    ),
    "scan_then_attention_experts": feather.Config(
        V,
        40,
        3,
        2,
        1,
        14,
        15,
        33,
        0,
        97,
        layer_pattern="SA",
        d_state=27,
        conv=3,
        n_experts=5,
        top_k=2,
        d_shared=9,
        table_format="f32",
        **EXACT,
    ),
    "nothing_looks_back_one_expert": feather.Config(
        V, 72, 1, d_ff=46, context=33, rows_2=97, rows_3=101, layer_pattern="N", n_experts=3
    ),
    "square_vocabulary": feather.Config(289, 72, 1, 2, 1, 18, 46, 33, 0, 97, table_format="int6_row"),
}
