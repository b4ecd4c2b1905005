"""Small configurations of llama, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import llama

CASES = {
    "untied_gqa_wide_heads_f32": llama.Config(V, 52, 2, 4, 2, 18, 45, 23, False, 500.0, **EXACT),
    "tied_mqa_biases_int8": llama.Config(
        V, 40, 2, 4, 1, 14, 45, 33, attention_bias=True, mlp_bias=True, weight_format="int8", kv_format="f32"
    ),
    "stretched_f32": llama.Config(
        V, 40, 2, 2, 1, 18, 45, 33, True, 500.0, rope_stretch=8.0, rope_low=0.5, rope_learned=40, **EXACT
    ),
}
