"""Small configurations of recurrent, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import recurrent

CASES = {
    "one_block_three_passes": recurrent.Config(V, 40, 1, 3, n_heads=2, d_ff=30, context=23, **EXACT),
    "prelude_two_blocks_coda_bf16": recurrent.Config(
        V, 72, 2, 2, 1, 1, n_heads=4, n_kv_heads=2, d_ff=45, context=33, tied=False, activation="relu2"
    ),
    "without_iteration_rows_int8": recurrent.Config(
        V, 40, 2, 3, 0, 1, False, 2, 1, 46, 23, weight_format="int8", kv_format="int8"
    ),
    "a_single_pass": recurrent.Config(
        V, 40, 1, 1, 1, 0, False, 2, 2, 46, 33, activation="gelu", weight_format="int3_g128", kv_format="f32"
    ),
    "exits_between_passes": recurrent.Config(
        V, 40, 1, 3, 1, 1, True, 2, 1, 30, 23, exit_after=(1, 2, 4), exit_threshold=0.5, **EXACT
    ),
}
