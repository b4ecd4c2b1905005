"""Small configurations of scan, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import scan

CASES = {
    "diagonal_f32": scan.Config(V, 40, 2, d_state=37, d_ff=45, context=33, weight_format="f32"),
    "diagonal_hybrid_conv": scan.Config(
        V,
        72,
        3,
        d_state=45,
        layer_pattern="SSA",
        conv=4,
        n_heads=4,
        n_kv_heads=2,
        d_ff=46,
        context=65,
        tied=False,
        activation="relu2",
        weight_format="int8",
    ),
    "gated_f32": scan.Config(V, 40, 2, "gated", 30, 3, d_ff=45, context=33, activation="gelu", weight_format="f32"),
    "gated_hybrid_bf16_state": scan.Config(
        V,
        72,
        3,
        "gated",
        46,
        2,
        "bf16",
        17,
        layer_pattern="SA",
        conv=2,
        n_heads=4,
        n_kv_heads=1,
        d_ff=46,
        context=33,
        tied=False,
        kv_format="int8",
    ),
    "delta_f32_conv": scan.Config(
        V, 40, 2, "delta", 28, 2, chunk=7, conv=3, d_ff=45, context=33, activation="silu", weight_format="f32"
    ),
    "delta_hybrid": scan.Config(V, 40, 2, "delta", 26, layer_pattern="AS", n_heads=2, d_ff=45, context=23, **EXACT),
    "delta_t5_bf16_state": scan.Config(
        V, 72, 1, "delta", 36, 4, "bf16", d_ff=46, context=65, tied=False, weight_format="t5_g128"
    ),
}
