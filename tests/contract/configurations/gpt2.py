"""Small configurations of gpt2, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import gpt2

CASES = {
    "tied_f32": gpt2.Config(V, 42, 2, 3, context=23, **EXACT),
    "untied_bf16": gpt2.Config(V, 72, 1, 2, 45, 33, tied=False, eps=1e-6),
    "tied_t2": gpt2.Config(V, 72, 1, 4, 90, 33, weight_format="t2_g32_s8", kv_format="int8"),
}
