"""Small configurations of memory, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import EXACT, V

from weightless.models import memory

CASES = {
    "values_of_two_heads": memory.Config(
        V, 40, 2, 2, 1, 30, memory_heads=2, n_slots=49, top_k=3, d_key=6, context=23, **EXACT
    ),
    "one_value_by_sigmoid_untied_bf16": memory.Config(
        V,
        72,
        1,
        4,
        2,
        memory_every=1,
        memory_heads=3,
        n_slots=81,
        top_k=1,
        d_key=10,
        gating="sigmoid",
        query_norm=False,
        context=33,
        tied=False,
        kv_format="f32",
    ),
    "all_half_keys_of_neurons": memory.Config(
        V,
        40,
        1,
        2,
        1,
        kind="neurons",
        memory_every=1,
        memory_heads=1,
        n_slots=9,
        top_k=3,
        d_key=2,
        context=33,
        **EXACT,
    ),
    "relu2_neurons_of_three_heads_int8": memory.Config(
        V,
        72,
        3,
        2,
        1,
        46,
        "neurons",
        memory_every=2,
        memory_heads=3,
        n_slots=49,
        top_k=4,
        d_key=14,
        activation="silu",
        neuron="relu2",
        context=23,
        weight_format="int8",
        kv_format="f32",
    ),
    "silu_neurons_int4": memory.Config(
        V,
        72,
        2,
        2,
        2,
        kind="neurons",
        memory_every=1,
        memory_heads=2,
        n_slots=81,
        top_k=5,
        d_key=36,
        neuron="silu",
        context=23,
        weight_format="int4",
        kv_format="int8",
    ),
}
