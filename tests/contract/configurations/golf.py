"""Small configurations of golf, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import golf

CASES = {
    "three_blocks_one_skip": golf.Config(V, 36, 3, 2, 1, context=23, **EXACT),
    "five_blocks_two_skips_bf16": golf.Config(V, 36, 5, 2, 2, 45, context=33, weight_format="bf16"),
    "two_blocks_int8": golf.Config(V, 72, 2, 4, 2, context=33, softcap=4.0, kv_format="f32"),
    "one_block_no_skip": golf.Config(V, 40, 1, 4, 1, 30, context=23, q_gain=0.7, softcap=5.0, **EXACT),
}
