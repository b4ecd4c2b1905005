"""Small models of the families that other people publish, with odd sizes; part of `cases.CASES`."""

from __future__ import annotations

from typing import Any

from weightless.models import gpt2, llama, qwen3

V = 301
EXACT = {"weight_format": "f32", "kv_format": "f32"}

PUBLISHED: dict[str, dict[str, Any]] = {
    "gpt2": {
        "tied_f32": gpt2.Config(V, 42, 2, 3, context=23, **EXACT),
        "untied_bf16": gpt2.Config(V, 72, 1, 2, 45, 33, tied=False, eps=1e-6),
        "tied_int8": gpt2.Config(V, 72, 1, 4, 90, 33, weight_format="int8", kv_format="int8"),
    },
    "llama": {
        "untied_gqa_wide_heads_f32": llama.Config(V, 52, 2, 4, 2, 18, 45, 23, False, 500.0, **EXACT),
        "tied_mqa_biases_int8": llama.Config(
            V, 40, 2, 4, 1, 14, 45, 33, attention_bias=True, mlp_bias=True, weight_format="int8", kv_format="f32"
        ),
    },
    "qwen3": {
        "tied_gqa_wide_heads_f32": qwen3.Config(V, 52, 2, 4, 2, 18, 45, 23, eps=1e-3, **EXACT),
        "untied_mha_biases_int4": qwen3.Config(
            V, 72, 1, 2, 2, 22, 46, 33, False, attention_bias=True, weight_format="int4", kv_format="bf16"
        ),
    },
}
