"""Small configurations of qwen3, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import qwen3

CASES = {
    "tied_gqa_wide_heads_f32": qwen3.Config(V, 52, 2, 4, 2, 18, 45, 23, eps=1e-3, **EXACT),
    "untied_mha_biases_int2": qwen3.Config(
        V, 72, 1, 2, 2, 22, 46, 33, False, attention_bias=True, weight_format="int2", kv_format="bf16"
    ),
    "untied_t2_whole_products": qwen3.Config(
        V,
        66,
        2,
        2,
        1,
        34,
        130,
        33,
        False,
        weight_format="t2_g32_s8",
        kv_format="int8",
        activation_format="int8",
        plan={"head": "int4"},
    ),
}
