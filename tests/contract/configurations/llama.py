"""Small configurations of llama, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import llama

CASES = {
    "untied_gqa_wide_heads_f32": llama.Config(V, 52, 2, 4, 2, 18, 45, 23, False, 500.0, **EXACT),
    "tied_mqa_biases_int8": llama.Config(
        V, 40, 2, 4, 1, 14, 45, 33, attention_bias=True, mlp_bias=True, weight_format="int8", kv_format="f32"
    ),
}
