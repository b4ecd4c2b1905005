"""Small configurations of qwen3, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import qwen3

CASES = {
    "tied_gqa_wide_heads_f32": qwen3.Config(V, 52, 2, 4, 2, 18, 45, 23, eps=1e-3, **EXACT),
    "untied_mha_biases_int2": qwen3.Config(
        V, 72, 1, 2, 2, 22, 46, 33, False, attention_bias=True, weight_format="int2", kv_format="bf16"
    ),
}
