"""Small configurations of experts, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import experts

CASES = {
    "two_of_five_swiglu": experts.Config(V, 40, 2, 2, 1, 5, 2, 14, context=23, **EXACT),
    "one_of_three_sigmoid_bias_untied": experts.Config(
        V,
        72,
        1,
        4,
        2,
        3,
        1,
        45,
        scoring="sigmoid",
        balance="bias",
        context=33,
        tied=False,
        activation="relu2",
        weight_format="int8",
        kv_format="f32",
    ),
    "many_tiny_and_a_shared_one": experts.Config(
        V,
        40,
        2,
        2,
        2,
        33,
        4,
        6,
        18,
        context=33,
        activation="gelu",
        balance="none",
        weight_format="bf16",
        kv_format="f32",
    ),
    "int5_and_a_shared_one": experts.Config(
        V,
        72,
        1,
        2,
        1,
        4,
        3,
        46,
        30,
        context=23,
        activation="silu",
        weight_format="int5_g32_s8",
        kv_format="f32",
    ),
}
