"""Small configurations of scan, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import V

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
}
